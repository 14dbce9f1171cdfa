"""Whether an updated run's probabilities can be taken at their word, calibrated on the scores of its trial.

    python -m benchmarks.continual_calibration

Simulated sites (`benchmarks.continual_sites`): a model of A is updated with B, as `neuro update` does, with
A's scans (`replay`) and without, with other people of A to check with (`ewc`); tested are people of A and B
whom nothing has seen. Writes benchmarks/results/continual_calibration.json and .md.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.metrics import log_loss

from benchmarks.continual import TESTED, TRAINED, config_of, toy_classifier
from benchmarks.continual_sites import SCENARIOS, people_of_site
from benchmarks.outcome import command, machine, table, write
from neuro.calibration.calibration import Calibration, calibrate
from neuro.calibration.inner_scores import inner_scores
from neuro.continual.calibrated import calibration_of
from neuro.continual.config import Strategy
from neuro.continual.learning import updated
from neuro.continual.runs import Runs
from neuro.continual.trials import checked_trials, learned_afresh, nested_trials, run_trials

CHECKED, FOLDS = 24, 4  # people of A to check with; folds of people
HOW: dict[Strategy, str] = {"replay": "replay, A's scans kept", "ewc": "ewc, others of A to check with"}


def one(scenario: str, strategy: Strategy, seed: int) -> dict[str, Any]:
    """A cohort: log loss with no curve, the parent's and the update's own; how often its sets hold."""
    import torch

    torch.set_num_threads(1)
    first, second = SCENARIOS[scenario][:2]
    old, new = (people_of_site(site, TRAINED, seed=seed) for site in (first, second))
    check = people_of_site(first, CHECKED, seed=seed, first=500)
    tested = people_of_site(first, TESTED, seed=seed, first=1000)
    tested = tested + people_of_site(second, TESTED, seed=seed, first=1000)
    classifier = toy_classifier(seed)
    parent = _calibration_of_training(classifier, old, seed)
    known, config = learned_afresh(classifier, old, [strategy]), config_of(classifier)
    if strategy == "ewc":
        trials = checked_trials(check, new, [str(p) for p in old.people], folds=FOLDS, seed=seed)
    else:
        trials = nested_trials(old, new, folds=FOLDS, seed=seed)
    steps = run_trials(trials, known, [strategy], config)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            said = end.value
            break
    own = calibration_of(trials, said.after[strategy], parent, seed=seed)
    scores = updated(known, new, strategy, config).decision_function(tested.tokens)
    plain = 1 / (1 + np.exp(-scores))
    return {
        "uncalibrated": _losses(plain, tested),
        "parent": _losses(parent.calibrator.probabilities(scores), tested),
        "own": _losses(own.calibrator.probabilities(scores), tested),
        "coverage": _coverage(own, scores, tested),
    }


def _calibration_of_training(classifier: Any, runs: Runs, seed: int) -> Calibration:
    """As `neuro train` has it."""
    return calibrate(
        inner_scores(classifier, runs.tokens, runs.labels, runs.people, 5, sites=runs.sites, seed=seed)
    )


def _losses(probabilities: Any, tested: Runs) -> dict[str, float]:
    return {
        site: float(log_loss(tested.labels[at], probabilities[at], labels=[0, 1]))
        for site in ("A", "B")
        for at in [tested.sites == site]
    }


def _coverage(found: Calibration, scores: Any, tested: Runs) -> dict[str, float]:
    sets_N2 = np.array([found.conformal.sets(p) for p in found.calibrator.probabilities(scores)])
    held = sets_N2[np.arange(len(tested)), tested.labels]
    return {site: float(held[tested.sites == site].mean()) for site in ("A", "B")}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=-1)
    options = parser.parse_args()
    found = {
        f"{scenario}, {strategy}": Parallel(n_jobs=options.jobs)(
            delayed(one)(scenario, strategy, seed) for seed in range(options.seeds)
        )
        for scenario in ("another scanner", "another side")
        for strategy in HOW
    }
    fields = {"command": command("benchmarks.continual_calibration"), "machine": machine("torch")}
    write(
        "continual_calibration", {**fields, "found": found}, "Probabilities of an updated run", report(found)
    )


def report(found: dict[str, Any]) -> list[str]:
    """The table in Markdown, means over seeds."""
    heads = ["B is", "update", "uncalibrated", "by the parent's curve", "by its own", "sets hold the label"]
    rows = []
    for name, runs in found.items():
        scenario, strategy = name.split(", ")
        means = [[np.mean([run[what][site] for run in runs]) for site in "AB"] for what in runs[0]]
        rows.append([scenario, HOW[strategy], *(f"{a:.2f}, {b:.2f}" for a, b in means)])  # type: ignore[index]
    seeds = len(next(iter(found.values())))
    return [
        f"Sites A, then B: {TRAINED} people each to learn from, {TESTED} of each tested, {CHECKED} of A to"
        f" check with; {FOLDS} folds, {seeds} seeds. Log loss at A, at B (0.693 is knowing nothing), and how"
        " often sets that are to hold the label in 90 % did.",
        "",
        *table(heads, rows),
    ]


if __name__ == "__main__":
    main()
