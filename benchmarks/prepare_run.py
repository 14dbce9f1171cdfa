"""How quickly, and in how much memory, is one run cleaned and masked, against nilearn's NiftiMasker?

    python -m benchmarks.prepare_run

The run is made up (97 x 115 x 97 x 200, 398,000 in-mask voxels, 16-bit integers with a bias field, drift and
autocorrelated noise of 1.2 %, so that gzip packs it as it does real ones), with 24 motion confounds; both
sides detrend, filter from 0.01 to 0.1 Hz, regress and z-score. Ours also measures the run's quality and
writes the cache; nilearn gives an array. Each side is a process of its own: its time is that of the work
without imports, its memory the largest resident set. The disk's cache is warm for both. Writes
benchmarks/results/prepare_run.json and .md.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.outcome import command, machine, peak_mib, table, write
from data.caches.cached_run import open_run
from data.cleaning.confound_columns import STRATEGIES
from data.cleaning.confounds import load_confounds
from data.cleaning.head_motion import MOTION
from data.cleaning.recipe import Recipe
from data.scans.bids import RunFiles

SHAPE, FRAMES, VOXELS, TR = (97, 115, 97), 200, 398_000, 2.0
SMALL = ((33, 39, 33), 120, 16_000)
COLUMNS = tuple(name for name in STRATEGIES["simple"].columns if name.startswith(("trans", "rot")))
RECIPE = Recipe(confounds=COLUMNS)
BARS = {"speed": 15.0, "memory": 0.5, "z": 1e-3}
SPACE = "sub-01_task-rest_space-MNI152NLin2009cAsym"
MIB = 1 << 20


def files_in(folder: Path) -> RunFiles:
    """The run of this benchmark."""
    return RunFiles(
        entities={"sub": "01", "task": "rest", "space": "MNI152NLin2009cAsym"},
        bold=folder / f"{SPACE}_desc-preproc_bold.nii.gz",
        mask=folder / f"{SPACE}_desc-brain_mask.nii.gz",
        confounds=folder / "sub-01_task-rest_desc-confounds_timeseries.tsv",
    )


def make(folder: Path, shape: tuple[int, int, int], frames: int, voxels: int) -> None:
    """Write run, mask and confounds."""
    import nibabel as nib

    rng = np.random.default_rng(0)
    centre_3 = (np.array(shape) - 1) / 2
    axes = np.ogrid[: shape[0], : shape[1], : shape[2]]
    radius_XYZ = sum(((axis - c) / c) ** 2 for axis, c in zip(axes, centre_3, strict=True))
    limit = np.partition(radius_XYZ.ravel(), voxels)[voxels]
    head_XYZ = radius_XYZ < 1.3 * limit
    mean_XYZ = np.where(head_XYZ, 900 - 300 * radius_XYZ + 60 * rng.standard_normal(shape), 15)
    mean_XYZ = mean_XYZ.astype(np.float32)
    noise_XYZ = np.where(head_XYZ, 0.012 * mean_XYZ, 3).astype(np.float32)
    bold_XYZT = np.empty((*shape, frames), np.int16, order="F")
    last_XYZ = rng.standard_normal(shape, dtype=np.float32)
    for frame in range(frames):
        last_XYZ = np.float32(0.4) * last_XYZ + np.float32(0.917) * rng.standard_normal(shape, np.float32)
        bold_XYZT[..., frame] = np.rint(mean_XYZ * np.float32(1 + 1e-4 * frame) + noise_XYZ * last_XYZ)
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = (-96, -132, -78)
    image = nib.Nifti1Image(bold_XYZT, affine)
    image.header.set_zooms((2, 2, 2, TR))
    image.header.set_xyzt_units("mm", "sec")
    files = files_in(folder)
    nib.save(image, files.bold)
    nib.save(nib.Nifti1Image((radius_XYZ < limit).astype(np.uint8), affine), files.mask)
    motion = {name: 0.02 * rng.standard_normal(frames).cumsum() for name in MOTION}
    pd.DataFrame(motion).to_csv(files.confounds, sep="\t", index=False)


def ours(folder: Path) -> float:
    """Clean the run into a cache's folder; seconds."""
    import nilearn.signal  # noqa: F401 - so that its import is not timed on one side alone

    from data.caches.run_writing import write_run

    started = time.perf_counter()
    write_run(files_in(folder), RECIPE, folder / "run")
    return time.perf_counter() - started


def nilearns(folder: Path) -> float:
    """NiftiMasker with the same choices; seconds."""
    from nilearn.maskers import NiftiMasker

    files = files_in(folder)
    confounds_TK = load_confounds(files.confounds, RECIPE.confounds, frames_of(folder)).values_TK
    masker = NiftiMasker(
        mask_img=str(files.mask),
        detrend=RECIPE.detrend,
        high_pass=RECIPE.high_pass,
        low_pass=RECIPE.low_pass,
        t_r=TR,
        standardize="zscore_sample",
        dtype="float32",
    )
    started = time.perf_counter()
    series_TV = masker.fit_transform(str(files.bold), confounds=confounds_TK)
    seconds = time.perf_counter() - started
    np.save(folder / "nilearn.npy", series_TV)
    return seconds


def frames_of(folder: Path) -> int:
    """T, from the table of confounds."""
    return len(pd.read_csv(files_in(folder).confounds, sep="\t"))


SIDES = {"ours": ours, "nilearn": nilearns}


def in_a_process(side: str, folder: Path) -> dict[str, float]:
    """Seconds of the work and largest resident memory of a process that does it."""
    words = [sys.executable, "-m", "benchmarks.prepare_run", "--side", side, "--folder", str(folder)]
    child = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(child.stdout.splitlines()[-1])
    return found


def apart(folder: Path) -> dict[str, float]:
    """How far our z-scores lie from nilearn's, before they are stored and as they are stored."""
    from data.caches.clean_run import read_raw
    from data.cleaning.clean_voxels import clean_blocks

    theirs_TV = np.load(folder / "nilearn.npy", mmap_mode="r")
    stored = open_run(folder / "run", "sub-01")
    raw = read_raw(files_in(folder), RECIPE)
    computed = rounded = 0.0
    for block in clean_blocks(raw.series_TV, raw.opened.operator_FT):
        wanted_FB = theirs_TV[:, block.columns]
        computed = max(computed, float(np.abs(block.z_FB - wanted_FB).max()))
        rounded = max(rounded, float(np.abs(stored.series_TV[:, block.columns] - wanted_FB).max()))
    return {"computed": computed, "stored": rounded, "largest_z": float(np.abs(theirs_TV).max())}


def main() -> None:
    """Run both sides and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a run of some seconds, to try this out")
    parser.add_argument("--repeats", type=int, default=3, help="of ours; the median counts")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        seconds = SIDES[options.side](options.folder)
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu = used.ru_utime + used.ru_stime
        found = {"seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak_mib()}
        print(json.dumps(found))
        return
    shape, frames, voxels = SMALL if options.small else (SHAPE, FRAMES, VOXELS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, shape, frames, voxels)
        rounds = []
        for _ in range(options.repeats):
            rounds.append(in_a_process("ours", folder))
            print(rounds[-1], flush=True)
            for path in (folder / "run").iterdir():
                path.unlink()
            (folder / "run").rmdir()
        in_a_process("ours", folder)
        theirs = in_a_process("nilearn", folder)
        stored = open_run(folder / "run", "sub-01")
        run_mib = stored.mask_XYZ.sum() * frames * 4 / MIB
        report(rounds, theirs, apart(folder), run_mib, files_in(folder))


def report(
    rounds: list[dict[str, float]],
    theirs: dict[str, float],
    distance: dict[str, float],
    run_mib: float,
    files: RunFiles,
) -> None:
    """Write the files."""
    seconds = float(np.median([each["seconds"] for each in rounds]))
    cpu = float(np.median([each["cpu_seconds"] for each in rounds]))
    peak = max(each["peak_mib"] for each in rounds)
    assert files.bold is not None
    fields: dict[str, Any] = {
        "command": command("benchmarks.prepare_run"),
        "machine": machine("nilearn", "numpy", "scipy", "isal", "nibabel"),
        "recipe": RECIPE.identity,
        "packed_mib": files.bold.stat().st_size / MIB,
        "in_mask_mib_fp32": run_mib,
        "ours": {"seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak, "rounds": rounds},
        "nilearn": theirs,
        "speed": theirs["seconds"] / seconds,
        "memory": peak / theirs["peak_mib"],
        "peak_over_in_mask_fp32": peak / run_mib,
        "largest_difference_z": distance,
        "bars": BARS,
    }
    rows = [
        ("ours, with quality and cache", f"{seconds:.1f}", f"{cpu:.1f}", f"{peak:,.0f}"),
        ("nilearn", *(f"{theirs[name]:,.1f}" for name in ("seconds", "cpu_seconds", "peak_mib"))),
        (
            "nilearn / ours",
            f"{fields['speed']:.1f} (bar {BARS['speed']:g})",
            f"{theirs['cpu_seconds'] / cpu:.1f}",
            f"{1 / fields['memory']:.1f} (bar {1 / BARS['memory']:g})",
        ),
    ]
    lines = [
        f"{fields['machine']['processor']}, {fields['machine']['cores']} cores; a run of {run_mib:,.0f} MiB"
        f" in its mask in float32, packed {fields['packed_mib']:,.0f} MiB.",
        "",
        *table(("side", "seconds", "CPU seconds, with imports", "peak MiB"), rows),
        "",
        f"Largest difference in z: {distance['computed']:.1e} as computed (bar {BARS['z']:g}),"
        f" {distance['stored']:.1e} as stored in float16, where the largest z-score is"
        f" {distance['largest_z']:.1f}.",
    ]
    write("prepare_run", fields, "One run cleaned and masked", lines)


if __name__ == "__main__":
    main()
