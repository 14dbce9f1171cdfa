"""The brain Transformer on real patients, beside connectivity and a linear SVM on the very same folds.

    python -m benchmarks.parcel_transformer SHARED/data/pd --photos SHARED/data/photos

TaoWu, NEUROCON, both together, and each site trained on the other. Tokens are parcels. Nested by person: the
variant (what a token is, mixup, readout, which weights it begins with) is chosen on inner folds by AUC, and
the outer fold is looked at once. One of the variants begins with the blocks of a small picture Transformer
(`benchmarks.picture_teaching`); every variant is also reported by itself, as what was tried. Writes
benchmarks/results/parcel_transformer.json and .md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks.connectivity_protocols import ANCHORS, OURS, PUBLISHED_TR, TASKS, Task, sample
from benchmarks.outcome import command, machine, table, write
from benchmarks.photographs import add_photos_option
from benchmarks.picture_teaching import taught
from data.caches.cache import Cache
from data.exchange.parcel_cohort import ParcelCohort, prepare_parcels
from data.splits.folds import Fold, leave_one_site_out, repeated_subject_folds
from data.splits.nested_splits import NestedFold, nest_by_subject
from neuro.baselines import connectivity_svm
from neuro.classify import ParkinsonClassifier
from neuro.model import DEFAULT_BACKBONE, ModelConfig
from neuro.tokens import ParcelSpec, RunTokens, cut
from neuro.training.config import OptimizerConfig, TrainingConfig

FRAMES, WINDOW = 120, 60  # NEUROCON's runs have 137 frames
INNER = 3
ACROSS = "AAL116"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to build and train it."""

    name: str
    profile: bool = True
    mixup: float = 0.0
    readout: Any = "regions"
    pictures: bool = False


VARIANTS = (
    Variant(name="profiles"),
    Variant(name="profiles, mixup", mixup=0.4),
    Variant(name="profiles, picture weights, mixup", mixup=0.4, pictures=True),
    Variant(name="profiles, mean readout, mixup", mixup=0.4, readout="mean"),
    Variant(name="windows of signal", profile=False),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Patients:
    """Runs of a task in each way of cutting, with what the baseline sees."""

    tokens: dict[bool, list[RunTokens]]
    edges: NDArray[np.float32]
    labels: NDArray[np.int64]
    people: NDArray[np.object_]
    sites: NDArray[np.object_]


def patients(cache: Cache, task: Task) -> Patients:
    """Cut the runs of a task."""
    found = sample(cache, task, OURS)
    rows = np.flatnonzero(cache.table["site"].isin(task.sites))
    specs = {
        profile: ParcelSpec(
            atlas=task.atlas, frames=FRAMES, window=None if profile else WINDOW, profile=profile
        )
        for profile in (True, False)
    }
    return Patients(
        tokens={profile: [cut(cache, int(i), spec) for i in rows] for profile, spec in specs.items()},
        edges=found.features,
        labels=found.labels,
        people=found.people,
        sites=found.sites,
    )


def classifier(variant: Variant, pictures: Path, seed: int) -> ParkinsonClassifier:
    """The variant, untrained."""
    backbone = f"local:{pictures}" if variant.pictures else DEFAULT_BACKBONE
    training = TrainingConfig(epochs=30, mixup=variant.mixup, optimizer=OptimizerConfig(weight_decay=0.1))
    return ParkinsonClassifier(
        model=ModelConfig(backbone=backbone, readout=variant.readout),
        training=training,
        seed=seed,
        device="cpu",
    )


def scores(found: Patients, fold: Fold, variant: Variant, pictures: Path, seed: int) -> NDArray[np.float64]:
    """Logits of the fold's test runs."""
    train, test = fold
    runs = found.tokens[variant.profile]
    model = classifier(variant, pictures, seed).fit(
        [runs[i] for i in train], found.labels[train], groups=found.people[train]
    )
    return model.decision_function([runs[i] for i in test])


def auc(found: Patients, fold: Fold, variant: Variant, pictures: Path, seed: int) -> float:
    """AUC of a variant on a fold."""
    return float(roc_auc_score(found.labels[fold[1]], scores(found, fold, variant, pictures, seed)))


def one_fold(found: Patients, fold: NestedFold, pictures: Path, seed: int) -> dict[str, Any]:
    """All variants on an outer fold, the one that inner folds choose, and the baseline."""
    import torch

    torch.set_num_threads(1)
    outer = (fold.train, fold.test)
    inner = {v.name: [auc(found, pair, v, pictures, seed) for pair in fold.inner] for v in VARIANTS}
    chosen = max(VARIANTS, key=lambda variant: float(np.mean(inner[variant.name])))
    tested = {v.name: auc(found, outer, v, pictures, seed) for v in VARIANTS}
    svm = connectivity_svm().fit(found.edges[fold.train], found.labels[fold.train])
    baseline = roc_auc_score(found.labels[fold.test], svm.decision_function(found.edges[fold.test]))
    return {
        "chosen": chosen.name,
        "auc": tested[chosen.name],
        "baseline": float(baseline),
        "variants": tested,
        "inner": {name: float(np.mean(values)) for name, values in inner.items()},
    }


def measured(found: Patients, deals: Sequence[Sequence[Fold]], pictures: Path) -> dict[str, Any]:
    """Every deal of people into folds, summed up: means and spreads over deals of the AUC within folds."""
    nested = [
        nest_by_subject(folds, found.labels, found.people, n_splits=INNER, seed=number, strata=found.sites)
        for number, folds in enumerate(deals)
    ]
    jobs = [(number, fold) for number, folds in enumerate(nested) for fold in folds]
    done = Parallel(n_jobs=-1)(delayed(one_fold)(found, fold, pictures, number) for number, fold in jobs)
    deal_of = np.array([number for number, _ in jobs])
    return {
        "ours": _spread(deal_of, [row["auc"] for row in done]),
        "baseline": _spread(deal_of, [row["baseline"] for row in done]),
        "variants": {v.name: _spread(deal_of, [row["variants"][v.name] for row in done]) for v in VARIANTS},
        "chosen": {v.name: sum(row["chosen"] == v.name for row in done) for v in VARIANTS},
        "folds": done,
    }


def _spread(deal_of: NDArray[np.int64], values: Sequence[float]) -> dict[str, float]:
    means = [float(np.mean(np.array(values)[deal_of == deal])) for deal in np.unique(deal_of)]
    return {"mean": float(np.mean(means)), "sd": float(np.std(means)), "deals": len(means)}


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="holds taowu.npz and neurocon.npz")
    parser.add_argument("--deals", type=int, default=3, help="deals of people into folds")
    add_photos_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = [options.folder / f"{site}.npz" for site in PUBLISHED_TR]
        cache = prepare_parcels(ParcelCohort.from_npz(paths, tr=PUBLISHED_TR), Path(folder) / "cache")
        pictures = Path(folder) / "pictures"
        explained = taught(DEFAULT_BACKBONE, sorted(options.photos.iterdir()), pictures)
        tasks = {}
        for task in TASKS:
            found = patients(cache, task)
            deals = repeated_subject_folds(
                found.labels, found.people, n_repeats=options.deals, strata=found.sites
            )
            tasks[task.name] = measured(found, deals, pictures)
        both = patients(cache, Task(name="", sites=tuple(PUBLISHED_TR), atlas=ACROSS, anchor=0, spread=0))
        across = measured(both, [leave_one_site_out(both.sites, both.people)], pictures)
    fields = {
        "command": command("benchmarks.parcel_transformer")
        .replace(str(options.folder), "SHARED/data/pd")
        .replace(str(options.photos), "SHARED/data/photos"),
        "machine": machine("torch", "timm", "scikit-learn"),
        "anchors": {
            task.name: {"mean": task.anchor, "sd": task.spread, "features": ANCHORS} for task in TASKS
        },
        "picture_teaching": explained,
        "tasks": tasks,
        "across_sites": across,
    }
    write("parcel_transformer", fields, "The brain Transformer on real patients", report(fields))


def report(fields: dict[str, Any]) -> list[str]:
    """The tables in Markdown."""
    deals = next(iter(fields["tasks"].values()))["ours"]["deals"]
    rows = [
        [
            name,
            _told(found["ours"]),
            _told(found["baseline"]),
            _told(fields["anchors"][name]),
            f"{found['ours']['mean'] - found['baseline']['mean']:+.3f}",
        ]
        for name, found in fields["tasks"].items()
    ]
    across = [
        [str(number + 1), row["chosen"], f"{row['auc']:.3f}", f"{row['baseline']:.3f}"]
        for number, row in enumerate(fields["across_sites"]["folds"])
    ]
    everything = {**fields["tasks"], f"across sites, {ACROSS}": fields["across_sites"]}
    tried = [
        [name, variant.name, _told(found["variants"][variant.name]), str(found["chosen"][variant.name])]
        for name, found in everything.items()
        for variant in VARIANTS
    ]
    seen, unseen = (fields["picture_teaching"][name] for name in ("seen", "unseen"))
    return [
        f"AUC within folds of `data.splits`, five by person; mean ± standard deviation over {deals} deals.",
        f"Nested: variants are chosen by {INNER} inner folds. The baseline is on the same folds.",
        "",
        *table(
            ["", "brain Transformer, nested", "connectivity + SVM", "anchor (its protocol)", "difference"],
            rows,
        ),
        "",
        "## Train on one site, test on the other",
        "",
        *table(["fold", "chosen", "brain Transformer", "connectivity + SVM"], across),
        "",
        "## All that was tried, each by itself on the outer folds",
        "",
        *table(["", "variant", "AUC", "chosen in folds"], tried),
        "",
        "Picture weights: a ViT of the same size taught to give an ImageNet network's features of crops of"
        f" photographs; it explains {seen:.2f} of their variance on photographs that it saw, {unseen:.2f} on"
        " others.",
    ]


def _told(found: dict[str, float]) -> str:
    return f"{found['mean']:.3f} ± {found['sd']:.3f}"


if __name__ == "__main__":
    main()
