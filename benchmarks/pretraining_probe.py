"""What is masked pretraining worth to a linear probe? A frozen encoder, pretrained and as initialised.

    python -m benchmarks.pretraining_probe --seeds 1 2 3

Each seed has a labelled cohort and two unlabelled ones, simulated from other seeds: nobody is in two of them.
The encoder is pretrained on the unlabelled people; then a logistic regression learns, by person and with its
penalty chosen within each training fold, from one vector a run: the mean token over the brain, and the mean
tokens of the cells of a lattice. The same encoder without pretraining is probed alike. The amplitudes of the
regions themselves show what there is to be found. Writes benchmarks/results/pretraining_probe.json and .md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.outcome import command, machine, table, write
from data.caches.cache import Cache, prepare
from data.cohorts.cohort import Cohort
from data.interval import Interval
from data.simulation.cohort import SimulationSpec, simulate
from data.splits.folds import assert_no_leak, subject_folds
from neuro.demo import DEMO_RECIPE
from neuro.intervals import fold_auc
from neuro.model import BrainEncoder, ModelConfig
from neuro.pretrain.config import PretrainConfig
from neuro.pretrain.features import run_features
from neuro.pretrain.lesson import lesson_of, modelling
from neuro.pretrain.masked import MaskedConfig
from neuro.pretrain.masking import MaskConfig
from neuro.pretrain.pools import Pool
from neuro.study import cut_runs, labels_and_people
from neuro.tokens import ParcelSpec, RunTokens
from neuro.training.config import OptimizerConfig, TrainingConfig
from neuro.training.loop import fit
from vision.backbones import load_backbone

PEOPLE, UNLABELLED, ATLAS, CELL_MM = 80, 2, "aal", 30.0
MODEL = ModelConfig()
PENALTIES = [1e-3, 1e-2, 1e-1, 1.0, 10.0]
Features = Callable[[BrainEncoder, Sequence[RunTokens]], NDArray[np.float32]]
POOLINGS: dict[str, Features] = {
    "mean token": run_features,
    f"cells of {CELL_MM:g} mm": lambda encoder, runs: run_features(encoder, runs, cell_mm=CELL_MM),
}


def cohort(seed: int, options: argparse.Namespace, folder: Path) -> Cache:
    """Simulated and prepared."""
    spec = SimulationSpec(
        subjects=PEOPLE, effect_amplitude=options.effect, effect_coupling=options.effect, seed=seed
    )
    derivative = simulate(folder / f"derivative-{seed}", spec, workers=options.workers)
    people = Cohort.from_derivatives(derivative)
    return prepare(
        people, DEMO_RECIPE, folder / f"cache-{seed}", False, atlases=[ATLAS], workers=options.workers
    )


def fresh(runs: Sequence[RunTokens], seed: int) -> BrainEncoder:
    """An encoder as initialised."""
    backbone = load_backbone(MODEL.backbone, device="cpu", shared=False, seed=seed)
    torch.manual_seed(seed)
    return BrainEncoder(backbone, runs[0].layout, MODEL).eval()


def pretrained(
    pools: Sequence[Pool], seed: int, options: argparse.Namespace
) -> tuple[BrainEncoder, dict[str, Any]]:
    """The same encoder after masked modelling, and its losses."""
    runs = sum(len(pool) for pool in pools)
    training = TrainingConfig(
        epochs=max(1, round(options.clips / runs)),
        batch_size=16,
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup=0.1),
    )
    config = PretrainConfig(
        mask=MaskConfig(ratio=options.ratio),
        masked=MaskedConfig(amplitude_weight=options.amplitude_weight),
        training=training,
        seed=seed,
        device="cpu",
    )
    encoder = fresh(pools[0].runs, seed)
    objective = modelling(encoder, config)
    lesson = lesson_of(pools, {str(person) for person in pools[0].people[:8]}, config)
    before = lesson.held_out_loss(objective)
    fit(objective, lesson.examples([1.0] * len(pools)), training, seed=seed)
    return encoder.eval(), {"before": before, "after": lesson.held_out_loss(objective)}


def probe() -> Pipeline:
    """A logistic regression whose penalty is chosen within what it is fitted to."""
    inner = StratifiedKFold(4, shuffle=True, random_state=0)
    grid = GridSearchCV(
        LogisticRegression(max_iter=5000), {"C": PENALTIES}, scoring="roc_auc", cv=inner, n_jobs=1
    )
    return make_pipeline(StandardScaler(), grid)


def out_of_fold(
    features: NDArray[Any], cache: Cache, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores of runs by probes that their person had no part in, and the fold of each."""
    labels, people = labels_and_people(cache)
    scores, fold_of = np.zeros(len(labels)), np.zeros(len(labels), dtype=np.int64)
    sites = cache.table["site"].to_numpy(object)
    for fold, (train, test) in enumerate(subject_folds(labels, people, n_splits=5, seed=seed, strata=sites)):
        assert_no_leak(people, train, test)
        fitted = probe().fit(features[train], labels[train])
        scores[test], fold_of[test] = fitted.decision_function(features[test]), fold
    return scores, fold_of


class Scores:
    """Out-of-fold scores of several cohorts, each with folds and people of its own."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], Any]] = []

    def add(self, seed: int, features: NDArray[Any], cache: Cache) -> None:
        """One cohort's."""
        labels, people = labels_and_people(cache)
        scores, folds = out_of_fold(features, cache, seed)
        names = np.array([f"{seed}/{person}" for person in people], dtype=object)
        self.rows.append((seed, labels, scores, folds + 100 * seed, names))

    def auc(self, seed: int | None = None) -> Interval:
        """AUC within folds, of one seed or of all."""
        chosen = [row[1:] for row in self.rows if seed in (None, row[0])]
        labels, scores, folds, people = (np.concatenate(column) for column in zip(*chosen, strict=True))
        return fold_auc(labels, scores, folds, people)


def one(seed: int, options: argparse.Namespace, found: dict[tuple[str, str], Scores]) -> dict[str, Any]:
    """One seed: cohorts, pretraining, probes."""
    spec = ParcelSpec(atlas=ATLAS)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        labelled = cohort(seed, options, folder)
        others = [cohort(1000 * (number + 1) + seed, options, folder) for number in range(UNLABELLED)]
        runs = cut_runs(labelled, spec)
        pools = [
            Pool(name=f"unlabelled {number}", runs=cut_runs(other, spec), people=_names(other, number))
            for number, other in enumerate(others)
        ]
        taught, losses = pretrained(pools, seed, options)
        for encoder, start in ((fresh(runs, seed), "as initialised"), (taught, "pretrained")):
            for pooling, features in POOLINGS.items():
                found.setdefault((pooling, start), Scores()).add(seed, features(encoder, runs), labelled)
        amplitudes = np.stack([run.clip(0).amplitude_SP[:, 0] for run in runs])
        found.setdefault(("regions' amplitudes", "no encoder"), Scores()).add(seed, amplitudes, labelled)
    return {"seed": seed, "held_out_loss": losses}


def _names(cache: Cache, number: int) -> NDArray[np.object_]:
    return np.array([f"{number}/{person}" for person in labels_and_people(cache)[1]], dtype=object)


def main() -> None:
    """Run all seeds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--effect", type=float, default=0.7)
    parser.add_argument("--clips", type=int, default=11200, help="Clips that pretraining sees.")
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--amplitude-weight", type=float, default=30.0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    found: dict[tuple[str, str], Scores] = {}
    seeds = [one(seed, options, found) for seed in options.seeds]
    rows = [
        {"pooling": pooling, "encoder": start, "seed": seed, **asdict(scores.auc(seed))}
        for (pooling, start), scores in found.items()
        for seed in (*options.seeds, None)
    ]
    fields = {
        "command": command("benchmarks.pretraining_probe"),
        **machine("torch", "timm", "scikit-learn"),
        "people": PEOPLE,
        "unlabelled_people": UNLABELLED * PEOPLE,
        "options": vars(options),
        "pretraining": seeds,
        "rows": rows,
    }
    write("pretraining_probe", fields, "Masked pretraining, then a linear probe", _lines(rows, options))


def _lines(rows: Sequence[dict[str, Any]], options: argparse.Namespace) -> list[str]:
    count = len(options.seeds)
    text = [
        f"{PEOPLE} labelled and {UNLABELLED * PEOPLE} unlabelled people a seed, effect {options.effect:g};",
        f"regions of {ATLAS}; mask ratio {options.ratio:g}, amplitude weighs {options.amplitude_weight:g};",
        f"{options.clips:,} clips. AUC within folds by person, 95 % interval over people.",
        "",
    ]
    shown = [
        (
            row["pooling"],
            row["encoder"],
            f"all {count}" if row["seed"] is None else str(row["seed"]),
            f"{row['estimate']:.3f}",
            f"{row['low']:.3f} to {row['high']:.3f}",
        )
        for row in rows
    ]
    return [*text, *table(["features", "encoder", "seed", "AUC", "interval"], shown)]


if __name__ == "__main__":
    main()
