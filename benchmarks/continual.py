"""What going on with a new site does to the old ones: each strategy, on simulated sites and on real ones.

    python -m benchmarks.continual SHARED/data/pd

Simulated: three sites come in one after the other; after each, all are tested on people never seen.
Real: TaoWu, then NEUROCON (81 people), in folds by person as `neuro update` makes them. Writes
benchmarks/results/continual.json and .md.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from benchmarks.connectivity_protocols import PUBLISHED_TR
from benchmarks.continual_sites import SCENARIOS, SiteSpec, people_of_site
from benchmarks.outcome import command, machine, table, write
from data.exchange.parcel_cohort import ParcelCohort, prepare_parcels
from neuro.classifier import ParkinsonClassifier
from neuro.continual.config import STRATEGIES, Margins, Strategy, UpdateConfig, training_of_update
from neuro.continual.decision import decide
from neuro.continual.learning import Learned, gone_on, updated
from neuro.continual.matrix import Matrix, Panel, matrix_of
from neuro.continual.outcome import plain
from neuro.continual.report import signed, told
from neuro.continual.runs import runs_of
from neuro.continual.trials import Trials, learned_afresh, nested_trials, run_trials
from neuro.model import ModelConfig
from neuro.tokens import ParcelSpec
from neuro.training.config import OptimizerConfig, TrainingConfig

TRAINED, TESTED, MEMORY = 48, 60, 12  # people a site; old runs that are replayed
TINY = "scratch:vit_tiny_patch16_224/embed_dim=16,depth=1,num_heads=2"
MARGINS, AUC_ALONE = Margins(), Margins(log_loss=math.inf)


def toy_classifier(seed: int) -> ParkinsonClassifier:
    """Of simulated sites."""
    training = TrainingConfig(epochs=30, optimizer=OptimizerConfig(learning_rate=1e-2))
    return ParkinsonClassifier(model=ModelConfig(backbone=TINY), training=training, seed=seed, device="cpu")


def config_of(classifier: ParkinsonClassifier, **rest: Any) -> UpdateConfig:
    """As `neuro update` has it."""
    return UpdateConfig(training=training_of_update(classifier.training), seed=classifier.seed, **rest)


def sequence(sites: tuple[SiteSpec, ...], seed: int) -> dict[str, Any]:
    """Logits (step, person) of each strategy, people site by site, and processor seconds of updates."""
    import torch

    torch.set_num_threads(1)
    learned = [people_of_site(site, TRAINED, seed=seed) for site in sites]
    tested = [people_of_site(site, TESTED, seed=seed, first=1000) for site in sites]
    tokens = [run for runs in tested for run in runs.tokens]
    first = learned_afresh(toy_classifier(seed), learned[0], STRATEGIES)
    config = config_of(first.classifier, memory=MEMORY)
    logits, seconds = {}, {}
    for strategy in STRATEGIES:
        known, said, took = first, [first.classifier.decision_function(tokens)], []
        for new in learned[1:]:
            begun = time.process_time()
            classifier = updated(known, new, strategy, config)
            took.append(time.process_time() - begun)
            said.append(classifier.decision_function(tokens))
            known = gone_on(known, new, strategy, classifier)
        logits[strategy], seconds[strategy] = np.stack(said), took
    return {"logits": logits, "seconds": seconds, "tested": tested}


def simulated(sites: tuple[SiteSpec, ...], seeds: int) -> dict[str, Any]:
    """All seeds of a scenario together: people of different seeds are only compared with their own."""
    done = Parallel(n_jobs=-1)(delayed(sequence)(sites, seed) for seed in range(seeds))
    learned = {site.name: step for step, site in enumerate(sites)}
    panels = [_panel(one["tested"], learned, seed) for seed, one in enumerate(done)]
    joined = {
        name: np.concatenate([getattr(panel, name) for panel in panels])
        for name in ("labels", "people", "sites", "folds")
    }
    everybody = replace(panels[0], **joined)
    found = {}
    for strategy in STRATEGIES:
        whole = matrix_of(everybody, np.concatenate([one["logits"][strategy] for one in done], axis=1))
        alone = [matrix_of(p, one["logits"][strategy]) for p, one in zip(panels, done, strict=True)]
        refused = [sum(not decide(matrix, m).accepted for matrix in alone) for m in (MARGINS, AUC_ALONE)]
        ratio = np.median([np.sum(o["seconds"][strategy]) / np.sum(o["seconds"]["cumulative"]) for o in done])
        found[strategy] = {
            **facts_of(whole),
            "refused": refused[0],
            "refused_by_auc": refused[1],
            "time_of_cumulative": float(ratio),
        }
    return {"seeds": seeds, "strategies": found}


def _panel(tested: list[Any], learned: dict[str, int], seed: int) -> Panel:
    everybody = tested[0]
    for runs in tested[1:]:
        everybody = everybody + runs
    return Panel(
        labels=everybody.labels,
        people=everybody.people,
        sites=everybody.sites,
        folds=np.full(len(everybody), seed),
        learned=learned,
    )


def facts_of(matrix: Matrix) -> dict[str, Any]:
    """Everything that is reported of a strategy, with its words."""
    steps = range(matrix.auc_BIJ.shape[1])
    last = steps[-1]
    old = [site for site, step in matrix.panel.learned.items() if step < last]
    return {
        "auc": [[plain(matrix.auc(step, site)) for site in matrix.sites] for step in steps],
        "log_loss": [[plain(matrix.log_loss(step, site)) for site in matrix.sites] for step in steps],
        "log_loss_change": {site: plain(matrix.log_loss_change(site)) for site in old},
        "auc_change": {site: plain(matrix.auc_change(site)) for site in old},
        "backward_transfer": plain(matrix.backward()),
        "forward_transfer": plain(matrix.forward()),
        "accepted": decide(matrix, MARGINS).accepted,
        "words": {
            "cells": [[told(matrix.auc(step, site)) for site in matrix.sites] for step in steps],
            "backward": signed(matrix.backward()),
            "forward": signed(matrix.forward()),
            "loss": "; ".join(f"{site} {signed(matrix.log_loss_change(site))}" for site in old),
        },
    }


def real(folder: Path, folds: int) -> dict[str, Any]:
    """TaoWu, then NEUROCON."""
    training = TrainingConfig(epochs=30, mixup=0.4, optimizer=OptimizerConfig(weight_decay=0.1))
    classifier = ParkinsonClassifier(model=ModelConfig(), training=training, device="cpu")
    with tempfile.TemporaryDirectory() as scratch:  # runs are read from there as they are needed
        trials = _real_trials(folder, Path(scratch), folds)
        done = Parallel(n_jobs=-1)(delayed(_one_deal)(trials, number, classifier) for number in range(folds))
    panel = _panel([trials.everybody], {"taowu": 0, "neurocon": 1}, 0)
    panel = replace(panel, folds=trials.fold_of)
    found = {}
    for strategy in STRATEGIES:
        logits = np.stack([_joined(done, "before"), _joined(done, strategy)])
        found[strategy] = facts_of(matrix_of(panel, logits))
    return {"folds": folds, "people": len(trials.everybody), "strategies": found}


def _real_trials(folder: Path, scratch: Path, folds: int) -> Trials:
    spec = ParcelSpec(atlas="AAL116", frames=120, profile="correlation")
    old, new = (
        runs_of(
            [prepare_parcels(ParcelCohort.from_npz([folder / f"{site}.npz"], tr={site: tr}), scratch / site)],
            spec,
            "cpu",
        )
        for site, tr in PUBLISHED_TR.items()
    )
    return nested_trials(old, new, folds=folds, seed=0)


def _one_deal(trials: Trials, number: int, classifier: ParkinsonClassifier) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    alone = replace(trials, deals=[trials.deals[number]])
    parent = Learned(classifier=classifier, runs=None, importance=None)  # a recipe, trained in every deal
    steps: Iterator[str] = run_trials(alone, parent, STRATEGIES, config_of(classifier))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return {"before": end.value.before, **end.value.after}


def _joined(done: list[dict[str, Any]], name: str) -> Any:
    """Each person's logit, from the deal that tested them."""
    stacked = np.stack([one[name] for one in done])
    return np.nansum(stacked, axis=0)


def main() -> None:
    """Run all of it and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with taowu.npz and neurocon.npz")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=4)
    options = parser.parse_args()
    fields = {
        "command": command("benchmarks.continual").replace(str(options.folder), "SHARED/data/pd"),
        "machine": machine("torch", "timm", "scikit-learn"),
        "real": real(options.folder, options.folds),
        "simulated": {name: simulated(sites, options.seeds) for name, sites in SCENARIOS.items()},
    }
    write("continual", fields, "A new site comes in", report(fields))


def report(fields: dict[str, Any]) -> list[str]:
    """The tables in Markdown."""
    lines = [
        f"Simulated sites: {TRAINED} people each to learn from, {TESTED} others to be tested; replay keeps"
        f" {MEMORY} old runs, ewc is as strong as by default. AUC within seeds, people resampled. Refused:"
        f" how many seeds lose more at A or B than {MARGINS.auc} of AUC or {MARGINS.log_loss} of log loss.",
    ]
    for name, found in fields["simulated"].items():
        lines += ["", f"## {name}, {found['seeds']} seeds", "", *_simulated_table(found)]
    real_ones = fields["real"]
    lines += [
        "",
        f"## TaoWu, then NEUROCON: {real_ones['people']} people, {real_ones['folds']} folds by person",
        "",
        *_real_table(real_ones),
    ]
    return lines


def _simulated_table(found: dict[str, Any]) -> list[str]:
    heads = ["strategy", *(f"{site} at last" for site in "ABC"), "backward transfer", "forward transfer"]
    heads += ["change of log loss", "refused", "by AUC alone"]
    heads += ["processor time, of cumulative"]
    rows = []
    for strategy, facts in found["strategies"].items():
        words = facts["words"]
        told_ones = [*words["cells"][-1], words["backward"], words["forward"], words["loss"]]
        refused = f"{facts['refused']} of {found['seeds']}"
        by_auc = f"{facts['refused_by_auc']} of {found['seeds']}"
        rows.append([strategy, *told_ones, refused, by_auc, f"{facts['time_of_cumulative']:.2f}"])
    cells = next(iter(found["strategies"].values()))["words"]["cells"]
    return [f"Before anything came in: A {cells[0][0]}.", "", *table(heads, rows)]


def _real_table(found: dict[str, Any]) -> list[str]:
    heads = [
        "strategy",
        "TaoWu after",
        "NEUROCON after",
        "backward transfer",
        "change of log loss",
        "accepted",
    ]
    rows: list[list[str]] = []
    names: list[Strategy] = list(found["strategies"])
    for strategy in names:
        facts = found["strategies"][strategy]
        words = facts["words"]
        accepted = "yes" if facts["accepted"] else "NO"
        rows.append([strategy, *words["cells"][-1], words["backward"], words["loss"], accepted])
    before = found["strategies"][names[0]]["words"]["cells"][0]
    return [f"Before the update: TaoWu {before[0]}, NEUROCON {before[1]}.", "", *table(heads, rows)]


if __name__ == "__main__":
    main()
