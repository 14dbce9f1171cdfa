"""Does the brain Transformer find what was planted, and nothing where nothing was? Many cohorts, both ways.

    python -m benchmarks.planted_effect

Each seed is a cohort of its own (80 people, 2 sites): two contenders of `neuro evaluate`, by person in 5
folds, one deal, nothing nested in it. Writes benchmarks/results/planted_effect.json and .md.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from benchmarks.outcome import command, machine, table, write
from benchmarks.plain_folds import auc_of, person_folds, scores_in_folds
from data.caches.cache import prepare
from data.cohorts.cohort import Cohort
from data.simulation.cohort import SimulationSpec, simulate
from neuro.baselines.connectivity import connectivity_features, connectivity_svm
from neuro.demo import DEMO_EFFECT, DEMO_RECIPE
from neuro.protocol.contender import Contender
from neuro.protocol.contenders import CONNECTIVITY, TRANSFORMER
from neuro.study import StudyConfig, cached_runs, cut_runs, labels_and_people

SUBJECTS = 80
COMPARED = (TRANSFORMER, CONNECTIVITY)
LEAST_AUC, NULL_MARGIN = 0.90, 0.05  # what was aimed at: with the effect, and around 0.5 without


def one(seed: int, effect: float) -> list[dict[str, Any]]:
    """Simulate, prepare and evaluate one cohort."""
    import torch

    torch.set_num_threads(1)
    spec = SimulationSpec(subjects=SUBJECTS, effect_amplitude=effect, effect_coupling=effect, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        derivative = simulate(Path(folder) / "derivative", spec)
        cohort = Cohort.from_derivatives(derivative)
        cache = prepare(cohort, DEMO_RECIPE, Path(folder) / "cache", progress=False)
        config = StudyConfig(seed=seed, device="cpu")
        runs, features = cut_runs(cache, config.tokens), connectivity_features(cached_runs(cache))
        rivals = [
            Contender(name=TRANSFORMER, estimator=config.classifier(), X=runs),
            Contender(name=CONNECTIVITY, estimator=connectivity_svm(), X=features),
        ]
        found = scores_in_folds(rivals, *labels_and_people(cache), person_folds(cache, seed))
    return [
        {"effect": effect, "seed": seed, "model": name, **asdict(auc_of(scores))}
        for name, scores in found.items()
    ]


def summary(rows: list[dict[str, Any]], effect: float) -> dict[str, Any]:
    """Over the seeds of an effect: mean AUC and its standard error, and intervals that leave out 0.5."""
    told = {}
    for model in COMPARED:
        chosen = [row for row in rows if row["model"] == model and row["effect"] == effect]
        aucs = np.array([row["estimate"] for row in chosen])
        told[model] = {
            "seeds": len(chosen),
            "mean": float(aucs.mean()),
            "standard_error": float(aucs.std(ddof=1) / np.sqrt(len(aucs))) if len(aucs) > 1 else None,
            "least": float(aucs.min()),
            "most": float(aucs.max()),
            "intervals_above_half": sum(row["low"] > 0.5 for row in chosen),
        }
    return told


def main() -> None:
    """Run all seeds and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="cohorts with the effect")
    parser.add_argument("--null-seeds", type=int, default=20, help="cohorts without it")
    options = parser.parse_args()
    jobs = [(seed, DEMO_EFFECT) for seed in range(1, options.seeds + 1)]
    jobs += [(seed, 0.0) for seed in range(1, options.null_seeds + 1)]
    done = Parallel(n_jobs=-1, verbose=10)(delayed(one)(*job) for job in jobs)
    rows = [row for found in done for row in found]
    fields = {
        "command": command("benchmarks.planted_effect"),
        "machine": machine("torch", "timm", "scikit-learn"),
        "subjects": SUBJECTS,
        "planted": summary(rows, DEMO_EFFECT),
        "null": summary(rows, 0.0),
        "rows": rows,
    }
    write("planted_effect", fields, "Planted effect, many cohorts", _lines(fields))


def _lines(fields: dict[str, Any]) -> list[str]:
    return [
        f"Simulated cohorts of {fields['subjects']} people at 2 sites, 5 folds by person; AUC within folds.",
        f"With the effect ({DEMO_EFFECT:.0%} of amplitude and coupling lost) {LEAST_AUC:.2f} was aimed at;",
        f"without it a mean within 0.5 ± {NULL_MARGIN}.",
        "",
        *table(
            [
                "effect",
                "model",
                "cohorts",
                "mean AUC ± standard error",
                "least to most",
                "intervals above 0.5",
            ],
            [
                [effect, model, *_told(found[model])]
                for effect, found in ((f"{DEMO_EFFECT:g}", fields["planted"]), ("0", fields["null"]))
                for model in COMPARED
            ],
        ),
        "",
        "Each cohort, with its 95 % interval over people:",
        "",
        *table(
            ["effect", "seed", "model", "AUC", "interval"],
            [
                [
                    f"{row['effect']:g}",
                    str(row["seed"]),
                    row["model"],
                    f"{row['estimate']:.3f}",
                    f"{row['low']:.3f} to {row['high']:.3f}",
                ]
                for row in fields["rows"]
            ],
        ),
    ]


def _told(found: dict[str, Any]) -> list[str]:
    error = found["standard_error"]
    return [
        str(found["seeds"]),
        f"{found['mean']:.3f}" + (f" ± {error:.3f}" if error is not None else ""),
        f"{found['least']:.3f} to {found['most']:.3f}",
        f"{found['intervals_above_half']} of {found['seeds']}",
    ]


if __name__ == "__main__":
    main()
