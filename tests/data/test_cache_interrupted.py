"""Preparation that is cut off, by a kill at any write or by a full disk, and how much memory it takes."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from data.caches import series_file
from data.caches.cache import Cache, prepare
from data.caches.cache_files import claimed
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort
from data.errors import BadFileError, DiskError

RECIPE = Recipe(confounds="6p")
COMMAND = [sys.executable, "-c", "from neuro.cli import main; main()", "prepare"]
OPTIONS = ["--confounds", "6p"]


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture
def uneven(tmp_path, write_run) -> Path:
    """Three subjects, the last with a run of five times the length."""
    root = tmp_path / "uneven"
    for subject, frames in (("01", 80), ("02", 80), ("03", 400)):
        write_run(root, subject, n_frames=frames)
    (root / "participants.tsv").write_text("participant_id\tgroup\nsub-01\tPD\nsub-02\tHC\nsub-03\tPD\n")
    return root


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_write_loses_nothing_that_was_finished(derivative, tmp_path):
    mask = nib.load(next(derivative.rglob("*brain_mask.nii.gz")))
    nib.save(nib.Nifti1Image(np.ones(mask.shape, np.int16), mask.affine), tmp_path / "brain.nii.gz")
    work = tmp_path / "work"
    work.mkdir()
    script = Path(__file__).with_name("kill_preparing.py")
    words = [sys.executable, script, derivative, tmp_path / "brain.nii.gz", work, "9"]
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    deaths, midway = map(int, done.stdout.split())
    assert deaths >= 5
    assert midway >= 2


def check_full(done: subprocess.CompletedProcess[str], out: Path, reason: str) -> None:
    """One line of error, exit code 2, two runs finished and nothing half."""
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert f"{out}/runs: place to write must be one with room, got {reason}" in line
    assert "make room" in line
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in (out / "runs").iterdir()) == ["sub-01_task-rest", "sub-02_task-rest"]
    assert not list(out.rglob(".*"))
    with pytest.raises(BadFileError, match="got an unfinished one"):
        Cache.open(out)


def check_resumed(derivatives: Path, out: Path, tmp_path: Path) -> None:
    """Going on makes what an undisturbed preparation makes, and the finished runs are kept."""
    before = {path: path.stat().st_mtime_ns for path in out.rglob("series.npy")}
    assert len(before) == 2
    prepare(Cohort.from_derivatives(derivatives), RECIPE, out, progress=False)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    prepare(Cohort.from_derivatives(derivatives), RECIPE, tmp_path / "undisturbed", progress=False)
    assert files(out) == files(tmp_path / "undisturbed")


def test_a_file_that_may_not_grow_ends_the_command_with_one_line(uneven, tmp_path):
    """A limit of the process' files stands for a quota; no run is left out for want of room."""
    out = tmp_path / "cache"
    words = [*COMMAND, str(uneven), "--out", str(out), *OPTIONS, "--skip-bad"]
    limit = 40_000  # 400 frames of 80 voxels are 64,000 bytes
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    check_full(done, out, "File too large")
    check_resumed(uneven, out, tmp_path)


def mounted(folder: Path) -> bool:
    """Whether a small file system could be mounted there."""
    if shutil.which("mount") is None or os.geteuid() != 0:
        return False
    words = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(folder)]
    return subprocess.run(words, capture_output=True).returncode == 0


def test_a_full_disk_ends_the_command_with_one_line_and_it_goes_on_when_there_is_room(uneven, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mounted(disk):
        pytest.skip("a small disk can be mounted by root alone")
    try:
        out = disk / "cache"
        words = [*COMMAND, str(uneven), "--out", str(out), *OPTIONS]
        done = subprocess.run(words, capture_output=True, text=True)
        check_full(done, out, "No space left on device")
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        check_resumed(uneven, out, tmp_path)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_full_from_the_start_leaves_nothing(derivative, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(series_file.SeriesFile, "append", full)
    with pytest.raises(DiskError, match=r"cache/runs: place to write must be one with room"):
        prepare(
            Cohort.from_derivatives(derivative),
            RECIPE,
            tmp_path / "cache",
            progress=False,
            on_error="exclude",
        )
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr("data.caches.cache_files.write_whole", full)
    with pytest.raises(DiskError, match=r"cache: place to write must be one with room"):
        prepare(Cohort.from_derivatives(derivative), RECIPE, tmp_path / "cache", progress=False)
    assert not (tmp_path / "cache").exists()


def test_one_preparation_at_a_time(derivative, tmp_path):
    cohort, out = Cohort.from_derivatives(derivative), tmp_path / "cache"
    with (
        claimed(out),
        pytest.raises(BadFileError, match=r"cache: cache must be free, got one that another process is prep"),
    ):
        prepare(cohort, RECIPE, out, progress=False)
    assert len(prepare(cohort, RECIPE, out, progress=False)) == 4


def test_a_full_disk_is_told_by_workers_too(tmp_path):
    error = DiskError("place to write", must_be="one with room", got="none", do="make room", path=tmp_path)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.path) == (DiskError, str(error), tmp_path)
    assert isinstance(again, OSError)


def test_memory_is_that_of_one_run_whatever_the_cohort(tmp_path, write_run, monkeypatch):
    """Traced allocations while runs of 24 MB in float32 are prepared, with a mask of the whole volume."""
    monkeypatch.setattr("data.scans.bold.BLOCK_BYTES", 1 << 20)
    monkeypatch.setattr("data.cleaning.clean_voxels.BLOCK_VOXELS", 1024)
    monkeypatch.setattr("data.caches.series_file.STRIP_VOXELS", 2048)
    root, grid, frames = tmp_path / "big", (40, 40, 30), 125
    rng = np.random.default_rng(0)
    data = rng.integers(500, 900, (*grid, frames)).astype(np.int16)
    for subject in ("01", "02", "03"):
        path = write_run(root, subject, n_frames=frames)
        image = nib.Nifti1Image(data, np.eye(4))
        image.header["pixdim"][4] = 2
        nib.save(image, path)
        mask = path.with_name(path.name.replace("preproc_bold", "brain_mask"))
        nib.save(nib.Nifti1Image(np.ones(grid, np.uint8), np.eye(4)), mask)
    groups = pd.DataFrame({"participant_id": ["sub-01", "sub-02", "sub-03"], "group": ["PD", "HC", "PD"]})
    groups.to_csv(root / "participants.tsv", sep="\t", index=False)
    whole = Cohort.from_derivatives(root)
    first = Cohort(runs=whole.runs[:1], table=whole.table[:1], excluded=[])
    prepare(first, RECIPE, tmp_path / "warm", progress=False)  # templates are read once, and stay
    del data, image
    peaks = {}
    for cohort in (first, whole):
        tracemalloc.start()
        prepare(cohort, RECIPE, tmp_path / f"cache-{len(cohort)}", progress=False)
        peaks[len(cohort)] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[3] < 1.5 * np.prod(grid) * frames * 4
    assert peaks[3] < 1.1 * peaks[1]
