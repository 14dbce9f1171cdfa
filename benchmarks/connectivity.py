"""The baseline to beat on real patients: connectivity and a linear SVM on TaoWu and NEUROCON, beside anchors.

    python -m benchmarks.connectivity SHARED/data/pd

The anchors were measured with scikit-learn's StratifiedKFold (ten deals, seeds 0 to 9), shrunk correlations
(Ledoit and Wolf) after Fisher's z, and one AUC over the scores of all folds. The same is done here, to see
that data and classifier are the same. What Chiasm itself reports is the contender of `neuro evaluate`:
Pearson's correlations, folds of `data.splits` by person, AUC within folds. All choices that were tried are
listed, each on the same deals. Writes benchmarks/results/connectivity.json and .md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.connectivity_protocols import (
    ANCHORS,
    KINDS,
    OURS,
    PUBLISHED_TR,
    TASKS,
    Deal,
    Task,
    anchor_folds,
    deal,
    own_folds,
    sample,
)
from benchmarks.outcome import command, machine, table, write
from data.caches.cache import Cache
from data.exchange.parcel_cohort import ParcelCohort, prepare_parcels
from data.splits.folds import assert_no_leak, leave_one_site_out, repeated_subject_folds
from neuro.baselines.connectivity import connectivity_svm

ANCHOR_DEALS = 10


def measured(deals: Sequence[Deal]) -> dict[str, float]:
    """Mean and spread over deals."""
    found: dict[str, float] = {"deals": len(deals)}
    for name in ("pooled", "within", "balanced"):
        values = [getattr(one, name) for one in deals]
        found[name], found[f"{name}_sd"] = float(np.mean(values)), float(np.std(values))
    return found


def reproduce(cache: Cache, task: Task, count: int) -> dict[str, Any]:
    """A task as the anchors did it, on their ten deals and on `count`, and as Chiasm does, on `count`."""
    theirs, ours = sample(cache, task, ANCHORS), sample(cache, task, OURS)
    many = [deal(theirs, folds, theirs.labels) for folds in anchor_folds(theirs.labels, count)]
    own = [deal(ours, folds, ours.labels) for folds in own_folds(ours, count)]
    return {
        "task": task.name,
        "people": len(ours.labels),
        "anchor": task.anchor,
        "anchor_sd": task.spread,
        "anchors_ten_deals": measured(many[:ANCHOR_DEALS]),
        "anchors_many_deals": measured(many),
        "chiasm": measured(own),
    }


def variants(cache: Cache, task: Task, count: int) -> list[dict[str, Any]]:
    """Every choice that was tried, on the same deals."""
    rows = []
    for kind in KINDS:
        found = sample(cache, task, kind)
        for scaled in (True, False):
            deals = [deal(found, folds, found.labels, scaled) for folds in own_folds(found, count)]
            rows.append({"task": task.name, "features": kind, "scaled": scaled, **measured(deals)})
    return rows


def across_sites(cache: Cache) -> list[dict[str, Any]]:
    """Train on one site, test on the other, for each atlas."""
    rows = []
    for atlas in cache.atlases:
        for kind in (ANCHORS, OURS):
            task = Task(name=atlas, sites=tuple(PUBLISHED_TR), atlas=atlas, anchor=0, spread=0)
            found = sample(cache, task, kind)
            for train, test in leave_one_site_out(found.sites, found.people):
                assert_no_leak(found.people, train, test)
                model = connectivity_svm().fit(found.features[train], found.labels[train])
                auc = roc_auc_score(found.labels[test], model.decision_function(found.features[test]))
                rows.append(
                    {"atlas": atlas, "features": kind, "tested": str(found.sites[test][0]), "auc": float(auc)}
                )
    return rows


def permuted(cache: Cache, count: int) -> dict[str, float]:
    """TaoWu with labels dealt out anew each time: what no signal looks like."""
    found = sample(cache, TASKS[0], OURS)
    rng = np.random.default_rng(0)
    deals = []
    for repeat in range(count):
        labels = rng.permutation(found.labels)
        folds = repeated_subject_folds(labels, found.people, n_repeats=1, seed=repeat)[0]
        deals.append(deal(found, folds, labels))
    return measured(deals)


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="holds taowu.npz and neurocon.npz")
    parser.add_argument("--deals", type=int, default=100, help="deals of people into folds")
    options = parser.parse_args()
    paths = [options.folder / f"{site}.npz" for site in PUBLISHED_TR]
    with tempfile.TemporaryDirectory() as folder:
        cache = prepare_parcels(ParcelCohort.from_npz(paths, tr=PUBLISHED_TR), Path(folder) / "cache")
        fields = {
            "command": command("benchmarks.connectivity").replace(str(options.folder), "SHARED/data/pd"),
            "machine": machine("numpy", "scikit-learn"),
            "identity": cache.identity,
            "tasks": [reproduce(cache, task, options.deals) for task in TASKS],
            "variants": [row for task in TASKS for row in variants(cache, task, options.deals)],
            "across_sites": across_sites(cache),
            "permuted": permuted(cache, options.deals),
        }
    write("connectivity", fields, "Connectivity and a linear SVM on real patients", report(fields))


def report(fields: dict[str, Any]) -> list[str]:
    """The tables in Markdown."""
    count = fields["tasks"][0]["chiasm"]["deals"]
    return [
        "AUC; ± is the standard deviation over deals of people into five folds (not an interval over people:",
        "deals share people). Persons in folds: one run each. TaoWu 20 + 20, NEUROCON 26 + 15.",
        "",
        "## The anchors, and what Chiasm reports",
        "",
        *table(
            [
                "",
                "anchor, ten deals",
                "its protocol here, the same ten",
                f"its protocol, {count} deals",
                f"Chiasm's, {count} deals",
                "balanced accuracy: its ten, Chiasm's",
            ],
            [_task_row(row) for row in fields["tasks"]],
        ),
        "",
        "Its protocol: Ledoit-Wolf correlations, Fisher's z, StratifiedKFold with seeds 0 to 9, one AUC over",
        "the scores of all folds. Chiasm's: Pearson's correlations, `data.splits` by person, AUC within",
        "folds.",
        "",
        "## Train on one site, test on the other (anchor: 0.52 to 0.61)",
        "",
        *table(
            ["atlas", "features", "tested", "AUC"],
            [[r["atlas"], r["features"], r["tested"], f"{r['auc']:.3f}"] for r in fields["across_sites"]],
        ),
        "",
        f"## Labels dealt out at random (anchor: 0.49 ± 0.12), {count} times",
        "",
        f"TaoWu, AAL116: {_spread(fields['permuted'], 'pooled')} over all scores,"
        f" {_spread(fields['permuted'], 'within')} within folds.",
        "",
        f"## All that was tried, {count} deals of `data.splits` each",
        "",
        *table(
            ["", "features", "scaled", "AUC within folds", "AUC over all scores", "balanced accuracy"],
            [_variant_row(row) for row in fields["variants"]],
        ),
    ]


def _spread(found: dict[str, float], name: str) -> str:
    return f"{found[name]:.3f} ± {found[f'{name}_sd']:.3f}"


def _task_row(row: dict[str, Any]) -> list[str]:
    ten = row["anchors_ten_deals"]
    return [
        row["task"],
        f"{row['anchor']:.3f} ± {row['anchor_sd']:.3f}",
        f"{_spread(ten, 'pooled')} ({ten['pooled'] - row['anchor']:+.3f})",
        _spread(row["anchors_many_deals"], "pooled"),
        _spread(row["chiasm"], "within"),
        f"{ten['balanced']:.3f}, {row['chiasm']['balanced']:.3f}",
    ]


def _variant_row(row: dict[str, Any]) -> list[str]:
    figures = [_spread(row, name) for name in ("within", "pooled")]
    return [
        row["task"],
        row["features"],
        "yes" if row["scaled"] else "no",
        *figures,
        f"{row['balanced']:.3f}",
    ]


if __name__ == "__main__":
    main()
