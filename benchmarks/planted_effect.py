"""Does the brain Transformer find what was planted, and nothing where nothing was? Several seeds, both ways.

    python -m benchmarks.planted_effect --seeds 1 2 3

Each seed is a cohort of its own (60 people, 2 sites), prepared and evaluated as `neuro demo` does. Writes
benchmarks/results/planted_effect.json and .md.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from data.caches.cache import prepare
from data.cohorts.cohort import Cohort
from data.simulation.cohort import SimulationSpec, simulate
from neuro.demo import DEMO_EFFECT, DEMO_RECIPE, DEMO_SUBJECTS
from neuro.evaluate import Evaluation, evaluate
from neuro.study import StudyConfig, contenders, labels_and_people, study_folds

RESULTS = Path(__file__).parent / "results"


def one(seed: int, effect: float) -> Evaluation:
    """Simulate, prepare and evaluate one cohort."""
    spec = SimulationSpec(subjects=DEMO_SUBJECTS, effect_amplitude=effect, effect_coupling=effect, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        derivative = simulate(Path(folder) / "derivative", spec)
        cache = prepare(
            Cohort.from_derivatives(derivative), DEMO_RECIPE, Path(folder) / "cache", progress=False
        )
        config = StudyConfig(seed=seed)
        return evaluate(contenders(cache, config), *labels_and_people(cache), study_folds(cache, config))


def main() -> None:
    """Run all seeds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    rows = []
    for effect in (DEMO_EFFECT, 0.0):
        for seed in options.seeds:
            for outcome in one(seed, effect).outcomes:
                rows.append({"effect": effect, "seed": seed, "model": outcome.name, **asdict(outcome.auc)})
                print(rows[-1], flush=True)
    command = shlex.join(["python", "-m", "benchmarks.planted_effect", *sys.argv[1:]])
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "planted_effect.json").write_text(
        json.dumps({"command": command, "rows": rows}, indent=1) + "\n"
    )
    (RESULTS / "planted_effect.md").write_text(_markdown(command, rows))


def _markdown(command: str, rows: list[dict[str, object]]) -> str:
    lines = [
        "# Planted effect, several seeds",
        "",
        f"`{command}`: {DEMO_SUBJECTS} people, 2 sites, 5 folds by person; AUC within folds, 95 % interval.",
        "",
        "| effect | seed | model | AUC | interval |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['effect']:g} | {row['seed']} | {row['model']} | {row['estimate']:.3f}"
        f" | {row['low']:.3f} to {row['high']:.3f} |"
        for row in rows
        if row["model"] != "majority"
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
