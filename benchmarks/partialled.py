"""How often is a model that learned nothing said to hold beside age, sex, motion and site?

    python -m benchmarks.partialled

The made-up cohorts of `benchmarks.protocol_tests` without any difference between labels: ridge regressions,
cross-validated, so that who is tested in one fold trains the others. Covariates are drawn by lot. A test of
5 % should say so of 5 %. Writes benchmarks/results/partialled.json and .md.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

import numpy as np
import pandas as pd

from benchmarks.outcome import command, machine, table, write
from benchmarks.protocol_tests import SCENES, Scene, cohort
from data.interval import wilson
from neuro.fairness.partialled import ALPHA, TRAINING, permuted
from neuro.fairness.person_rows import design, person_rows
from neuro.protocol.predictions import Predictions

PERMUTATIONS = 499
NAMES = ("models given", "training counted")


def covariates(predictions: Predictions, seed: int) -> pd.DataFrame:
    """Age, sex, motion and site that say nothing."""
    rng, count = np.random.default_rng((17, seed)), len(predictions.run_ids)
    return pd.DataFrame(
        {
            "run_id": predictions.run_ids.astype(str),
            "age": rng.normal(62, 8, count),
            "sex": rng.choice(["F", "M"], count),
            "fd_mean": np.exp(rng.normal(-2, 0.4, count)),
            "site": np.where(np.arange(count) // 2 % 2, "A", "B"),
        }
    )


def rejected(scene: Scene, cohorts: int) -> dict[str, float]:
    """Share of cohorts in which p is below 5 %, models given and training counted."""
    found = []
    for seed in range(cohorts):
        predictions, _ = cohort(scene, seed)
        people = person_rows(predictions, covariates(predictions, seed))
        X_GC, _ = design(people, squares=True, components=True)
        ps = [permuted(people, X_GC, PERMUTATIONS, seed, training)[0] for training in (1.0, TRAINING)]
        found.append([p < ALPHA for p in ps])
    given, counted = np.mean(found, axis=0)
    return dict(zip(NAMES, (float(given), float(counted)), strict=True))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cohorts", type=int, default=400)
    options = parser.parse_args()
    scenes = [scene for scene in SCENES if scene.shift == scene.other == 0]
    found = [asdict(scene) | rejected(scene, options.cohorts) for scene in scenes]
    rows = [
        [
            f"{row['people']}, {row['features']}",
            f"{row['folds']} x {row['deals']}",
            *(told(row[name], options.cohorts) for name in NAMES),
        ]
        for row in found
    ]
    fields = {
        "command": command("benchmarks.partialled"),
        "machine": machine("numpy", "scipy"),
        "cohorts": options.cohorts,
        "rows": found,
    }
    lines = [
        f"{options.cohorts} cohorts a row; share with p < {ALPHA:g}, and Wilson's 95 % interval of it.",
        "",
        *table(["people, features", "folds x deals", *NAMES], rows),
    ]
    write("partialled", fields, "Is a model of nothing said to hold beside confounds?", lines)


def told(share: float, cohorts: int) -> str:
    """A share with its interval."""
    held = wilson(share, cohorts)
    return f"{share:.3f} [{held.low:.3f}, {held.high:.3f}]"


if __name__ == "__main__":
    main()
