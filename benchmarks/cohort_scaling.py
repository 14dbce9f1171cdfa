"""Does preparing a cohort take time in proportion to its runs, two workers half of it, and memory of one run?

    python -m benchmarks.cohort_scaling

A simulated cohort of 40 people (3 mm, 300 frames) is prepared 10, 20 and 40 runs at a time: by one worker
bound to one core, and by two bound to two. Each preparation is a process of its own with one thread a worker;
its time includes the start of workers and the imports that cleaning needs. Memory is the largest resident
set of any of its processes, and beside it what such a process has after the imports alone. The best of
several rounds counts, as others' load only adds. Linux.

Writes benchmarks/results/cohort_scaling.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.outcome import command, machine, peak_mib, table, write
from data.caches.cache import prepare
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort
from data.simulation.cohort import SimulationSpec, simulate

SPEC = SimulationSpec(subjects=40, voxel_mm=3, frames=300)
SIZES, WORKERS = (10, 20, 40), (1, 2)
RECIPE = Recipe(confounds="6p")
BARS = {"efficiency": 0.8, "memory": 1.5}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def prepare_some(derivative: Path, count: int, workers: int) -> dict[str, float]:
    """Prepare the first `count` runs in this process and its workers."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:workers])
    whole = Cohort.from_derivatives(derivative)
    cohort = Cohort(runs=whole.runs[:count], table=whole.table[:count], excluded=[])
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        cache = prepare(cohort, RECIPE, out, progress=False, workers=workers)
        seconds = time.perf_counter() - started
        mask_XYZ = cache.run(0).mask_XYZ
    return {
        "count": count,
        "workers": workers,
        "seconds": seconds,
        "peak_mib": max(map(peak_mib, ["self", *children("self")])),
        "run_mib": mask_XYZ.size * SPEC.frames * 4 / 2**20,
        "in_mask_mib": int(mask_XYZ.sum()) * SPEC.frames * 4 / 2**20,
    }


def children(process: int | str) -> list[int]:
    """The processes that a process has started, and theirs."""
    found = []
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *children(child)]
    return found


def bare_mib() -> float:
    """What a process takes that has only imported what preparing needs."""
    words = "import nilearn.signal, nilearn.datasets; from data.caches.cache import prepare; "
    words += "from benchmarks.outcome import peak_mib; print(peak_mib())"
    child = subprocess.run([sys.executable, "-c", words], check=True, stdout=subprocess.PIPE, text=True)
    return float(child.stdout)


def in_a_process(derivative: Path, count: int, workers: int) -> dict[str, float]:
    """The same in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.cohort_scaling", "--derivative", str(derivative)]
    words += ["--count", str(count), "--workers", str(workers)]
    env = {**os.environ, **dict.fromkeys(THREADS, "1")}
    child = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=env)
    found: dict[str, float] = json.loads(child.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Simulate, prepare and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    for name, kind in (("derivative", Path), ("count", int), ("workers", int)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.derivative:
        print(json.dumps(prepare_some(options.derivative, options.count, options.workers)))
        return
    found = []
    with tempfile.TemporaryDirectory() as name:
        derivative = simulate(Path(name) / "derivative", SPEC, workers=2)
        for turn in range(options.rounds):
            for count in SIZES:
                for workers in WORKERS:
                    found.append({"round": turn, **in_a_process(derivative, count, workers)})
                    print(found[-1], flush=True)
    report(found)


def report(found: list[dict[str, float]]) -> None:
    """Write the files."""
    best = {
        (count, workers): min(
            row["seconds"] for row in found if (row["count"], row["workers"]) == (count, workers)
        )
        for count in SIZES
        for workers in WORKERS
    }
    largest = SIZES[-1]
    slopes = {w: np.polyfit(SIZES, [best[count, w] for count in SIZES], 1).tolist() for w in WORKERS}
    # 1 where time is proportional to runs; below it where a part of it is paid once.
    growth = {w: best[largest, w] / best[SIZES[0], w] / (largest / SIZES[0]) for w in WORKERS}
    peaks = {count: max(row["peak_mib"] for row in found if row["count"] == count) for count in SIZES}
    bare, run = bare_mib(), found[0]["run_mib"]
    fields: dict[str, Any] = {
        "command": command("benchmarks.cohort_scaling"),
        "machine": machine("joblib", "numpy", "scipy", "nilearn"),
        "recipe": RECIPE.identity,
        "efficiency": best[largest, 1] / (2 * best[largest, 2]),
        "seconds_a_run": {w: slope for w, (slope, _) in slopes.items()},
        "growth": growth,
        "peak_mib": peaks,
        "bare_mib": bare,
        "run_mib": run,
        "in_mask_mib": found[0]["in_mask_mib"],
        "peak_beyond_imports_over_run": (max(peaks.values()) - bare) / run,
        "bars": BARS,
        "rows": found,
    }
    heads = ("runs", "1 worker, s", "2 workers, s", "efficiency", "peak MiB of a process")
    rows = [
        (
            f"{count}",
            f"{best[count, 1]:.1f}",
            f"{best[count, 2]:.1f}",
            f"{best[count, 1] / (2 * best[count, 2]):.2f}",
            f"{peaks[count]:,.0f}",
        )
        for count in SIZES
    ]
    lines = [
        f"{fields['machine']['processor']}, {fields['machine']['cores']} cores. A run is {run:,.0f} MiB in"
        f" float32, {fields['in_mask_mib']:,.0f} MiB of it in the mask; imports alone take {bare:,.0f} MiB.",
        "",
        *table(heads, rows),
        "",
        f"From {SIZES[0]} to {largest} runs time grows by {growth[1]:.2f} (1 worker) and {growth[2]:.2f}"
        f" (2 workers) of what proportion would give. Efficiency of two workers at {largest} runs:"
        f" {fields['efficiency']:.2f} (bar {BARS['efficiency']:g}). Beyond the imports a process takes at"
        f" most {fields['peak_beyond_imports_over_run']:.2f} of a run in float32 (bar {BARS['memory']:g}).",
    ]
    write("cohort_scaling", fields, "Preparing cohorts of different size", lines)


if __name__ == "__main__":
    main()
