"""How often does each test of a cross-validated AUC find something, where there is nothing, where there is?

    python -m benchmarks.protocol_tests

Made-up cohorts: two models, each a ridge regression on features of its own, with every learned step inside
the fold, as in `neuro evaluate`. Where both are shifted alike, whoever finds a difference is wrong. Writes
benchmarks/results/protocol_tests.json and .md.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from benchmarks.outcome import command, machine, table, write
from data.splits.folds import repeated_subject_folds
from neuro.protocol.chance import auc_with_training, chance_test
from neuro.protocol.corrected import corrected_metric
from neuro.protocol.differences import difference
from neuro.protocol.metrics import metric_intervals
from neuro.protocol.predictions import Predictions

ALPHA = 0.05
CHANCE = ("bootstrap", "corrected t", "verdict")
PAIRED = ("bootstrap", "DeLong", "permuted ranks", "corrected t", "verdict")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One kind of cohort.

    Attributes:
        people, features: how many.
        shift: of the first feature between labels, in standard deviations; of the first model.
        other: of the second model.
        folds, deals: of the cross-validation.
        ridge: penalty, in features; large is the nearest to a sum over the training people.
    """

    people: int
    features: int
    shift: float
    other: float
    folds: int
    deals: int
    ridge: float


SCENES = (
    Scene(people=60, features=500, shift=0, other=0, folds=5, deals=1, ridge=100),
    Scene(people=60, features=500, shift=0, other=0, folds=5, deals=3, ridge=100),
    Scene(people=60, features=500, shift=0, other=0, folds=5, deals=10, ridge=100),
    Scene(people=60, features=500, shift=0, other=0, folds=2, deals=1, ridge=100),
    Scene(people=60, features=20, shift=0, other=0, folds=5, deals=3, ridge=1),
    Scene(people=60, features=20, shift=1, other=1, folds=5, deals=3, ridge=1),
    Scene(people=60, features=20, shift=2, other=2, folds=5, deals=3, ridge=1),
    Scene(people=60, features=20, shift=1.5, other=1.5, folds=10, deals=3, ridge=1),
    Scene(people=150, features=20, shift=1, other=1, folds=5, deals=3, ridge=1),
    Scene(people=30, features=20, shift=1, other=1, folds=5, deals=3, ridge=1),
    Scene(people=60, features=20, shift=2, other=0, folds=5, deals=3, ridge=1),
    Scene(people=60, features=20, shift=3, other=1, folds=5, deals=3, ridge=1),
)


def cohort(scene: Scene, seed: int) -> tuple[Predictions, Predictions]:
    """Both models' predictions of one cohort."""
    rng = np.random.default_rng((seed, scene.people))
    labels = np.arange(scene.people) % 2
    people = np.arange(scene.people).astype(object)
    deals = repeated_subject_folds(
        labels, people, n_splits=scene.folds, n_repeats=scene.deals, seed=int(rng.integers(1 << 30))
    )
    folds_DN = np.empty((scene.deals, scene.people), dtype=np.int64)
    for deal, folds in enumerate(deals):
        for number, (_, test) in enumerate(folds):
            folds_DN[deal, test] = number
    return tuple(_model(scene, shift, labels, folds_DN, rng) for shift in (scene.shift, scene.other))  # type: ignore[return-value]


def _model(
    scene: Scene,
    shift: float,
    labels: NDArray[np.int64],
    folds_DN: NDArray[np.int64],
    rng: np.random.Generator,
) -> Predictions:
    features = rng.normal(size=(scene.people, scene.features))
    features[:, 0] += shift * labels
    alike = features @ features.T
    scores_DN = np.empty(folds_DN.shape)
    for deal, folds_N in enumerate(folds_DN):
        for fold in np.unique(folds_N):
            train, test = np.flatnonzero(folds_N != fold), np.flatnonzero(folds_N == fold)
            target = 2.0 * labels[train] - 1
            penalty = scene.ridge * scene.features * np.eye(len(train))
            weights = np.linalg.solve(alike[np.ix_(train, train)] + penalty, target - target.mean())
            scores_DN[deal, test] = alike[np.ix_(test, train)] @ weights
    people = np.arange(scene.people).astype(object)
    return Predictions(
        model=f"shift {shift:g}",
        run_ids=people,
        labels=labels,
        people=people,
        sites=np.full(scene.people, "one", dtype=object),
        folds=folds_DN,
        scores=scores_DN,
        probabilities=1 / (1 + np.exp(-scores_DN)),
        called=(scores_DN > 0).astype(np.int64),
    )


def one(scene: Scene, seed: int) -> dict[str, Any]:
    """What every test says of one cohort."""
    first, second = cohort(scene, seed)
    auc = metric_intervals(first, names=["auc"], resamples=1000)["auc"]
    wide = auc_with_training(first)
    t = corrected_metric(first).p_value
    found = difference(first, second, resamples=1000, permutations=1999)
    return {
        "auc": auc.estimate,
        "intervals": {"bootstrap": [auc.low, auc.high], "verdict": [wide.low, wide.high]},
        "chance": {
            "bootstrap": not auc.low <= 0.5 <= auc.high,
            "corrected t": t is not None and t < ALPHA,
            "verdict": chance_test(first).p_value < ALPHA,
        },
        "paired": {
            "bootstrap": not found.bootstrap.low <= 0 <= found.bootstrap.high,
            "DeLong": found.delong_p is not None and found.delong_p < ALPHA,
            "permuted ranks": found.permutation_p < ALPHA,
            "corrected t": _below(found.corrected),
            "verdict": found.p_value < ALPHA,
        },
    }


def _below(corrected: Any) -> bool:
    return corrected is not None and corrected.p_value is not None and corrected.p_value < ALPHA


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohorts", type=int, default=400)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    rows = []
    for scene in SCENES:
        told = Parallel(n_jobs=given.workers)(delayed(one)(scene, seed) for seed in range(given.cohorts))
        truth = float(np.mean([row["auc"] for row in told]))
        rows.append(
            {
                "scene": asdict(scene),
                "auc": truth,
                "chance": {name: float(np.mean([row["chance"][name] for row in told])) for name in CHANCE},
                "paired": {name: float(np.mean([row["paired"][name] for row in told])) for name in PAIRED},
                "coverage": {
                    name: float(
                        np.mean([r["intervals"][name][0] <= truth <= r["intervals"][name][1] for r in told])
                    )
                    for name in ("bootstrap", "verdict")
                },
            }
        )
        print(rows[-1], flush=True)
    fields = {
        "command": command("benchmarks.protocol_tests"),
        "machine": machine("numpy", "scipy"),
        "cohorts": given.cohorts,
        "rows": rows,
    }
    write("protocol_tests", fields, "Tests of cross-validated AUCs, where the truth is known", _lines(fields))


def _lines(fields: dict[str, Any]) -> list[str]:
    heads = ["people", "features", "shift", "folds x deals", "ridge", "AUC"]
    return [
        f"{fields['cohorts']} cohorts a row; share in which each test finds something at 5 %, two-sided.",
        "`verdict`: what `neuro.protocol.verdict` goes by without running the pipeline on permuted labels.",
        "",
        "Against chance; where the shift is 0 anything above 0.05 is too much:",
        "",
        *table(
            [*heads, *CHANCE, "bootstrap covers", "verdict's interval covers"],
            [
                [*_told(row), *(f"{row['chance'][name]:.3f}" for name in CHANCE)]
                + [f"{row['coverage'][name]:.3f}" for name in ("bootstrap", "verdict")]
                for row in fields["rows"]
            ],
        ),
        "",
        "Between two models; where both shifts are the same anything above 0.05 is too much:",
        "",
        *table(
            [*heads, *PAIRED],
            [[*_told(row), *(f"{row['paired'][name]:.3f}" for name in PAIRED)] for row in fields["rows"]],
        ),
    ]


def _told(row: dict[str, Any]) -> list[str]:
    scene = row["scene"]
    return [
        str(scene["people"]),
        str(scene["features"]),
        f"{scene['shift']:g} and {scene['other']:g}",
        f"{scene['folds']} x {scene['deals']}",
        f"{scene['ridge']:g}",
        f"{row['auc']:.3f}",
    ]


if __name__ == "__main__":
    main()
