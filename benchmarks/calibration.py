"""What calibration, sets of labels and strangeness of scans are worth with few people; the truth is known.

    python -m benchmarks.calibration

Three things, each over many simulated draws: calibration errors and their intervals beside the truth; curves
and sets that were fitted to inner folds of a training side, on new people; and how far out scans of another
scanner and noisy ones lie. Writes benchmarks/results/calibration.json and .md.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from benchmarks.outcome import command, machine, table, write
from data.caches.cache import Cache, prepare
from data.caches.cached_run import CachedRun
from data.cohorts.cohort import Cohort
from data.simulation.cohort import SimulationSpec, simulate
from neuro.calibration.acquisition import acquisition_table
from neuro.calibration.calibration import calibrate
from neuro.calibration.calibrators import METHODS
from neuro.calibration.distances import FITS
from neuro.calibration.inner_scores import inner_scores
from neuro.calibration.novelty import Novelty
from neuro.calibration.reliability import reliability
from neuro.calibration.scan_embedding import embeddings_of
from neuro.demo import DEMO_RECIPE
from neuro.protocol.predictions import Predictions
from neuro.study import StudyConfig, labels_and_people
from neuro.tokens import cut_run

PEOPLE = (20, 40, 60)
MODELS = {"true": (1.0, 0.0), "too sure": (2.5, 0.0), "too shy": (0.3, 0.0), "too high": (1.0, 1.0)}
NOISE = (0.5, 1.0, 2.0)


def errors(draws: int) -> list[dict[str, Any]]:
    """Calibration errors of probabilities whose truth is known."""
    rows = []
    for people in PEOPLE:
        for name, (gain, shift) in MODELS.items():
            bins = int(np.clip(people // 8, 2, 10))
            p, y = _odds(np.random.default_rng(1), 400_000, gain, shift)
            gaps = [(y - p)[part].mean() for part in np.array_split(np.argsort(p), bins)]
            truth, rng = float(np.sqrt(np.mean(np.square(gaps)))), np.random.default_rng(0)
            found = [
                reliability(_predictions(*_odds(rng, people, gain, shift)), resamples=500, seed=i)
                for i in range(draws)
            ]
            rows.append(
                {
                    "people": people,
                    "probabilities": name,
                    "true_error": truth,
                    "true_ece": float(np.mean(np.abs(gaps))),
                    "ece": float(np.mean([f.ece for f in found])),
                    "error": float(np.median([f.error.estimate for f in found])),
                    # A hundredth: that much is nothing, and 0 is the least that an error can be.
                    "covered": float(np.mean([f.error.low - 0.01 <= truth <= f.error.high for f in found])),
                    "called_uncalibrated": float(np.mean([f.p_calibrated < 0.05 for f in found])),
                }
            )
    return rows


def curves_and_sets(draws: int) -> list[dict[str, Any]]:
    """A linear SVM on 200 features: curves and sets from inner folds, on 400 new people."""
    rows = []
    for people in PEOPLE:
        for effect in (0.0, 0.25):
            told: dict[str, list[list[float]]] = {method: [] for method in METHODS}
            for seed in range(draws):
                rng = np.random.default_rng([seed, people])
                X, y = _features(rng, people, effect)
                new, truth = _features(rng, 400, effect)
                model = make_pipeline(StandardScaler(), SVC(kernel="linear", C=0.01))
                inner = inner_scores(model, X, y, np.arange(people).astype(object), 4, seed=seed)
                score = model.fit(X, y).decision_function(new)
                for method in METHODS:
                    made = calibrate(inner, method=method)
                    p = made.calibrator.probabilities(score)
                    sets = made.conformal.sets(p)
                    held = sets[np.arange(400), truth].mean()
                    accuracy = [(p >= made.threshold)[truth == label].mean() for label in (0, 1)]
                    told[method].append(
                        [
                            log_loss(truth, p),
                            held,
                            (sets.sum(1) == 1).mean(),
                            (1 - accuracy[0] + accuracy[1]) / 2,
                        ]
                    )
            for method, values in told.items():
                mean = np.mean(values, axis=0)
                keys = ("log_loss", "coverage", "one_label", "balanced_accuracy")
                rows.append(
                    {"people": people, "effect": effect, "method": method}
                    | dict(zip(keys, map(float, mean), strict=True))
                )
    return rows


def novelty(seed: int) -> list[dict[str, Any]]:
    """A classifier of 40 simulated people: where new people, another scanner's and noisy runs lie."""
    config = StudyConfig(device="cpu", seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        home = _cohort(Path(folder) / "home", subjects=80, seed=seed)
        away = _cohort(Path(folder) / "away", subjects=20, seed=seed + 100)
        training, new = range(40), range(40, 80)
        tokens = [cut_run(home.run(i), config.tokens) for i in training]
        labels, _ = labels_and_people(home)
        classifier = config.classifier().fit(tokens, labels[:40])
        groups = {
            "new people, same scanners": [home.run(i) for i in new],
            "other scanners": [away.run(i) for i in range(len(away))],
        } | {f"noise of {gain:g} SD": [_noisy(home.run(i), gain) for i in new] for gain in NOISE}
        embedded = {
            name: embeddings_of(classifier, [cut_run(run, config.tokens) for run in runs])
            for name, runs in groups.items()
        }
        known = embeddings_of(classifier, tokens)
        return [
            row
            for method in FITS
            for row in _far(Novelty.fit(known, acquisition_table(home).iloc[:40], method=method), embedded)
        ]


def _far(fitted: Novelty, embedded: dict[str, Any]) -> list[dict[str, Any]]:
    """How often each group is called far, and how well its distances tell it from the first."""
    base = fitted.cloud.of(next(iter(embedded.values())))
    rows = []
    for name, embeddings in embedded.items():
        there = fitted.cloud.of(embeddings)
        auc = roc_auc_score([0] * len(base) + [1] * len(there), np.concatenate([base, there]))
        far = np.mean([fitted.score(embedding, {}).far for embedding in embeddings])
        rows.append({"distance": fitted.method, "runs": name, "auc": float(auc), "far": float(far)})
    return rows


def _odds(rng: np.random.Generator, people: int, gain: float, shift: float) -> tuple[Any, Any]:
    odds = rng.normal(0, 1.2, people)
    return expit(gain * odds + shift), (rng.random(people) < expit(odds)).astype(np.int64)


def _features(rng: np.random.Generator, people: int, effect: float) -> tuple[Any, Any]:
    labels = np.arange(people) % 2
    return rng.normal(size=(people, 200)) + effect * (labels[:, None] - 0.5), labels


def _predictions(probabilities: Any, labels: Any) -> Predictions:
    names, one = np.arange(len(labels)).astype(object), probabilities[None]
    return Predictions(
        model="simulated",
        run_ids=names,
        labels=labels,
        people=names,
        sites=names,
        folds=np.zeros(one.shape, dtype=np.int64),
        scores=one,
        probabilities=one,
        called=(one > 0.5).astype(np.int64),
    )


def _cohort(folder: Path, *, subjects: int, seed: int) -> Cache:
    spec = SimulationSpec(subjects=subjects, sites=2, voxel_mm=8, frames=60, seed=seed)
    cohort = Cohort.from_derivatives(simulate(folder / "derivative", spec))
    return prepare(cohort, DEMO_RECIPE, folder / "cache", progress=False)


def _noisy(run: CachedRun, gain: float) -> CachedRun:
    """White noise added to a cleaned run, in units of the median voxel's standard deviation."""
    rng = np.random.default_rng(run.n_frames)
    series = run.frames() * run.std_V
    series = series + gain * np.median(run.std_V) * rng.standard_normal(series.shape)
    std = np.maximum(series.std(0), 1e-6)
    z = ((series - series.mean(0)) / std).astype(np.float16)
    return replace(run, series_TV=z, std_V=std.astype(np.float32), scale_V=None)


def main() -> None:
    """Run all three and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200, help="draws of people")
    parser.add_argument("--seeds", type=int, default=3, help="simulated cohorts, for how strange scans are")
    options = parser.parse_args()
    strange = [row | {"seed": seed} for seed in range(1, options.seeds + 1) for row in novelty(seed)]
    fields = {
        "command": command("benchmarks.calibration"),
        "machine": machine("mapie", "scikit-learn", "torch"),
        "draws": options.draws,
        "errors": errors(options.draws),
        "curves": curves_and_sets(options.draws),
        "novelty": strange,
    }
    write("calibration", fields, "Calibration, sets and strangeness with few people", _lines(fields))


def _lines(fields: dict[str, Any]) -> list[str]:
    return [
        f"Calibration error, {fields['draws']} draws each. Error: debiased, median; covered: how often its",
        "95 % interval held the true one.",
        "",
        *_shown(fields["errors"]),
        "",
        "A linear SVM on 200 features; curve, threshold and 90 % sets from 4 inner folds; 400 new people.",
        "",
        *_shown(fields["curves"]),
        "",
        "Distance of scans from those of 40 people at 2 simulated scanners. AUC: against new people of these",
        "scanners; far: the share that is called so.",
        "",
        *_shown(fields["novelty"]),
    ]


def _shown(rows: list[dict[str, Any]]) -> list[str]:
    cells = [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    return table([name.replace("_", " ") for name in rows[0]], cells)


if __name__ == "__main__":
    main()
