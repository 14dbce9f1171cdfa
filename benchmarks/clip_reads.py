"""How quickly are random clips read from a cache, against a NumPy memory map of the same bytes?

    python -m benchmarks.clip_reads

Simulated runs (3 mm, 200 frames) are prepared in both precisions; clips of 20 frames are read at random
places of random runs, by `CachedRun.frames` and by what one would write with NumPy alone:
`np.memmap(...)[a:b]`, to float32 and, for int8, times the voxels' scales. Runs and maps are opened once, the
bytes lie in the system's cache. The two take turns at each clip, each first as often as the other. Writes
benchmarks/results/clip_reads.json and .md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.outcome import command, machine, table, write
from data.caches.cache import Cache, prepare
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort
from data.simulation.cohort import SimulationSpec, simulate

BAR = 0.9
CLIP = 20
Read = Callable[[int, int], Any]


def numpy_reader(cache: Cache) -> Read:
    """(run, first frame) -> float32 (CLIP, V), by memory maps of the files' bytes."""
    maps, scales = [], []
    for i in range(len(cache)):
        folder = cache.root / "runs" / str(cache.table["run_id"][i])
        stored = np.load(folder / "series.npy", mmap_mode="r")
        maps.append(
            np.memmap(
                folder / "series.npy",
                dtype=stored.dtype,
                mode="r",
                offset=(folder / "series.npy").stat().st_size - stored.nbytes,
                shape=stored.shape,
            )
        )
        scale = folder / "scale.npy"
        scales.append(np.load(scale) if scale.is_file() else None)

    def read(i: int, start: int) -> Any:
        z_nV = maps[i][start : start + CLIP].astype(np.float32)
        if scales[i] is not None:
            z_nV *= scales[i]
        return z_nV

    return read


def our_reader(cache: Cache) -> Read:
    """(run, first frame) -> float32 (CLIP, V), by the cache."""
    runs = [cache.run(i) for i in range(len(cache))]
    return lambda i, start: runs[i].frames(start, start + CLIP)


def compare(cache: Cache, clips: int) -> dict[str, float]:
    """Median microseconds a clip of both sides, and the quotient of their speeds."""
    readers = {"cache": our_reader(cache), "numpy": numpy_reader(cache)}
    rng = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    order = list(readers)
    size = 0
    for _ in range(clips):
        i, start = int(rng.integers(len(cache))), int(rng.integers(cache.table["n_frames"].min() - CLIP))
        results = {}
        for name in order:
            started = time.perf_counter()
            results[name] = readers[name](i, start)
            seconds[name].append(time.perf_counter() - started)
        np.testing.assert_array_equal(results["cache"], results["numpy"])
        size = results["cache"].size
        order.reverse()
    ours, theirs = (float(np.median(seconds[name])) for name in ("cache", "numpy"))
    return {
        "cache_us": ours * 1e6,
        "numpy_us": theirs * 1e6,
        "speed": theirs / ours,
        "values": size,
        "clips": clips,
    }


def main() -> None:
    """Prepare, read and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--runs", type=int, default=6)
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as name:
        spec = SimulationSpec(subjects=options.runs, voxel_mm=3, frames=200)
        cohort = Cohort.from_derivatives(simulate(Path(name) / "derivative", spec))
        for precision in ("float16", "int8"):
            recipe = replace(Recipe(confounds="6p"), precision=precision)
            cache = prepare(cohort, recipe, Path(name) / precision, progress=False)
            found[precision] = compare(cache, options.clips)
            print(precision, found[precision], flush=True)
    fields = {
        "command": command("benchmarks.clip_reads"),
        "machine": machine("numpy"),
        "bar": BAR,
        "precisions": found,
    }
    rows = [
        (
            precision,
            f"{row['cache_us'] / 1e3:.2f}",
            f"{row['numpy_us'] / 1e3:.2f}",
            f"{row['speed']:.2f} (bar {BAR:g})",
        )
        for precision, row in found.items()
    ]
    words = f"Clips of {CLIP} frames, {found['int8']['values']:,.0f} values each; medians of {options.clips}."
    heads = ("stored as", "cache, ms a clip", "NumPy memmap, ms", "cache's speed over NumPy's")
    write("clip_reads", fields, "Random clips from a cache", [words, "", *table(heads, rows)])


if __name__ == "__main__":
    main()
