"""What is masked pretraining worth to a linear probe? A frozen model, pretrained and as initialised.

    python -m benchmarks.pretraining_probe --seeds 1 2 3

Two scenarios: patients lose amplitude and coupling, or coupling alone. Each seed has a labelled cohort
and two unlabelled ones, simulated from other seeds: nobody is in two of them. The model is pretrained on
the unlabelled people; then a logistic regression learns, by person and with its penalty chosen within
each training fold, from one vector a run: the mean token over the brain, the mean tokens of the cells of
a lattice, or how badly each region can be guessed from the rest. The same model without pretraining is
probed alike. The amplitudes of the regions and their correlations show what there is to be found.
Settings were chosen on a cohort of another seed. Writes benchmarks/results/pretraining_probe.json and
.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
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
from neuro.baselines.connectivity import parcel_connectivity
from neuro.demo import DEMO_RECIPE
from neuro.model import ModelConfig, fresh_encoder
from neuro.pretrain.config import PretrainConfig
from neuro.pretrain.features import run_features
from neuro.pretrain.lesson import lesson_of, modelling
from neuro.pretrain.masked import MaskedConfig, MaskedModelling
from neuro.pretrain.masking import MaskConfig
from neuro.pretrain.pools import Pool
from neuro.pretrain.surprise import run_surprise
from neuro.protocol.intervals import fold_auc
from neuro.study import cut_runs, labels_and_people
from neuro.tokens import ParcelSpec, RunTokens
from neuro.training.config import OptimizerConfig, TrainingConfig
from neuro.training.loop import fit

PEOPLE, UNLABELLED, ATLAS, CELL_MM = 80, 2, "aal", 30.0
MODEL = ModelConfig()
PENALTIES = [1e-3, 1e-2, 1e-1, 1.0, 10.0]
Features = Callable[[MaskedModelling, Sequence[RunTokens]], NDArray[np.float32]]
FEATURES: dict[str, Features] = {
    "mean token": lambda model, runs: run_features(model.encoder, runs),
    f"cells of {CELL_MM:g} mm": lambda model, runs: run_features(model.encoder, runs, cell_mm=CELL_MM),
    "surprise of regions": run_surprise,
}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What patients lose, and how pretraining goes.

    Attributes:
        name: for the table.
        amplitude, coupling: shares that patients lose.
        ratio, amplitude_weight: of masked modelling.
    """

    name: str
    amplitude: float
    coupling: float
    ratio: float
    amplitude_weight: float


SCENARIOS = (
    Scenario(name="amplitude and coupling", amplitude=0.7, coupling=0.7, ratio=0.5, amplitude_weight=30),
    Scenario(name="coupling alone", amplitude=0.0, coupling=1.0, ratio=0.25, amplitude_weight=0),
)


def cohort(scenario: Scenario, seed: int, options: argparse.Namespace, folder: Path) -> Cache:
    """Simulated and prepared."""
    spec = SimulationSpec(
        subjects=PEOPLE, effect_amplitude=scenario.amplitude, effect_coupling=scenario.coupling, seed=seed
    )
    derivative = simulate(folder / f"derivative-{seed}", spec, workers=options.workers)
    people = Cohort.from_derivatives(derivative)
    return prepare(
        people, DEMO_RECIPE, folder / f"cache-{seed}", False, atlases=[ATLAS], workers=options.workers
    )


def config_of(scenario: Scenario, seed: int, epochs: int) -> PretrainConfig:
    """How the model is pretrained."""
    return PretrainConfig(
        mask=MaskConfig(ratio=scenario.ratio),
        masked=MaskedConfig(amplitude_weight=scenario.amplitude_weight),
        training=TrainingConfig(
            epochs=epochs, batch_size=16, optimizer=OptimizerConfig(learning_rate=1e-3, warmup=0.1)
        ),
        seed=seed,
        device="cpu",
    )


def fresh(runs: Sequence[RunTokens], config: PretrainConfig) -> MaskedModelling:
    """A model as initialised."""
    model = modelling(fresh_encoder(runs[0].layout, MODEL, seed=config.seed, device="cpu"), config)
    assert isinstance(model, MaskedModelling)
    return model.eval()


def pretrained(pools: Sequence[Pool], config: PretrainConfig) -> tuple[MaskedModelling, dict[str, Any]]:
    """The same model after masked modelling, and its losses."""
    model = fresh(pools[0].runs, config)
    lesson = lesson_of(pools, {str(person) for person in pools[0].people[:8]}, config)
    before = lesson.held_out_loss(model)
    fit(model, lesson.examples([1.0] * len(pools)), config.training, seed=config.seed)
    return model.eval(), {"before": before, "after": lesson.held_out_loss(model)}


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


def one(
    scenario: Scenario, seed: int, options: argparse.Namespace, found: dict[tuple[str, str], Scores]
) -> dict[str, Any]:
    """One seed: cohorts, pretraining, probes."""
    spec = ParcelSpec(atlas=ATLAS)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        labelled = cohort(scenario, seed, options, folder)
        others = [
            cohort(scenario, 1000 * (number + 1) + seed, options, folder) for number in range(UNLABELLED)
        ]
        runs = cut_runs(labelled, spec)
        pools = [
            Pool(name=f"unlabelled {number}", runs=cut_runs(other, spec), people=_names(other, number))
            for number, other in enumerate(others)
        ]
        config = config_of(scenario, seed, max(1, round(options.clips / sum(len(pool) for pool in pools))))
        taught, losses = pretrained(pools, config)
        for model, start in ((fresh(runs, config), "as initialised"), (taught, "pretrained")):
            for name, features in FEATURES.items():
                found.setdefault((name, start), Scores()).add(seed, features(model, runs), labelled)
        amplitudes = np.stack([run.clip(0).amplitude_SP[:, 0] for run in runs])
        references = {"amplitudes": amplitudes, "correlations": parcel_connectivity(labelled, ATLAS)}
        for name, values in references.items():
            found.setdefault((f"regions' {name}", "no encoder"), Scores()).add(seed, values, labelled)
    return {"seed": seed, "held_out_loss": losses}


def _names(cache: Cache, number: int) -> NDArray[np.object_]:
    return np.array([f"{number}/{person}" for person in labels_and_people(cache)[1]], dtype=object)


def main() -> None:
    """Run all seeds of both scenarios and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--clips", type=int, default=11200, help="Clips that pretraining sees.")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    fields: dict[str, Any] = {
        "command": command("benchmarks.pretraining_probe"),
        **machine("torch", "timm", "scikit-learn"),
        "people": PEOPLE,
        "unlabelled_people": UNLABELLED * PEOPLE,
        "options": vars(options),
        "scenarios": [measured(scenario, options) for scenario in SCENARIOS],
    }
    write("pretraining_probe", fields, "Masked pretraining, then a linear probe", _lines(fields))


def measured(scenario: Scenario, options: argparse.Namespace) -> dict[str, Any]:
    """All seeds of a scenario."""
    found: dict[tuple[str, str], Scores] = {}
    seeds = [one(scenario, seed, options, found) for seed in options.seeds]
    rows = [
        {"features": name, "encoder": start, "seed": seed, **asdict(scores.auc(seed))}
        for (name, start), scores in found.items()
        for seed in (*options.seeds, None)
    ]
    return {**asdict(scenario), "pretraining": seeds, "rows": rows}


def _lines(fields: dict[str, Any]) -> list[str]:
    text = [
        f"{PEOPLE} labelled and {UNLABELLED * PEOPLE} unlabelled people a seed; regions of {ATLAS};"
        f" {fields['options']['clips']:,} clips.",
        "AUC within folds by person, 95 % interval over people; the last column is of all seeds together.",
    ]
    for scenario in fields["scenarios"]:
        text += [
            "",
            f"## Patients lose {scenario['name']}",
            "",
            f"{scenario['amplitude']:.0%} of amplitude, {scenario['coupling']:.0%} of coupling; mask ratio"
            f" {scenario['ratio']:g}, the error in amplitude weighs {scenario['amplitude_weight']:g}.",
            "",
            *table(["features", "encoder", *_heads(scenario)], _rows(scenario)),
        ]
    return text


def _heads(scenario: dict[str, Any]) -> list[str]:
    return [*(f"seed {one['seed']}" for one in scenario["pretraining"]), "all, with its interval"]


def _rows(scenario: dict[str, Any]) -> list[list[str]]:
    shown: dict[tuple[str, str], list[str]] = {}
    for row in scenario["rows"]:
        told = f"{row['estimate']:.3f}"
        if row["seed"] is None:
            told += f" [{row['low']:.3f}, {row['high']:.3f}]"
        shown.setdefault((row["features"], row["encoder"]), []).append(told)
    return [[*names, *values] for names, values in shown.items()]


if __name__ == "__main__":
    main()
