"""Brain masks for runs that came without one."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from data.errors import BadFileError
from data.scans.bids import RunFiles
from data.scans.bold import BoldRun
from data.scans.epi_mask import brain_mask, computed_mask

SHAPE = (24, 24, 20)


def ball(radius: float = 8) -> np.ndarray:
    x, y, z = np.indices(SHAPE) - np.reshape(SHAPE, (3, 1, 1, 1)) / 2 + 0.5
    return x**2 + y**2 + z**2 < radius**2


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Dice's coefficient."""
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.fixture
def write(tmp_path, rng):
    def save(mean: np.ndarray, frames: int = 40, scale: float = 5) -> BoldRun:
        series = mean[..., None] + scale * rng.standard_normal((*mean.shape, frames))
        image = nib.Nifti1Image(series.astype(np.float32), np.diag([4.0, 4, 4, 1]))
        image.header["pixdim"][4] = 2
        nib.save(image, tmp_path / "run.nii.gz")
        return BoldRun.open(tmp_path / "run.nii.gz")

    return save


def test_a_bright_ball_is_found_and_agrees_with_nilearn(write):
    from nilearn.masking import compute_epi_mask

    run = write(np.where(ball(), 800.0, 30.0))
    mask_XYZ = computed_mask(run)
    assert overlap(mask_XYZ, ball()) > 0.97  # its edges are opened away
    of_nilearn = compute_epi_mask(nib.load(run.path).slicer[..., :30])
    np.testing.assert_array_equal(mask_XYZ, np.asarray(of_nilearn.dataobj) != 0)


def test_blocks_of_frames_change_nothing_and_no_more_is_read_than_needed(write, monkeypatch):
    run = write(np.where(ball(), 800.0, 30.0), frames=80)
    whole = computed_mask(run)
    monkeypatch.setattr("data.scans.bold.BLOCK_BYTES", 7 * 4 * ball().size)
    read: list[int] = []
    frames = BoldRun.frames

    def counted(run: BoldRun):
        for start, block in frames(run):
            read.append(start)
            yield start, block

    monkeypatch.setattr(BoldRun, "frames", counted)
    np.testing.assert_array_equal(computed_mask(run), whole)
    assert read == [0, 7, 14, 21, 28]


def test_broken_voxels_are_no_brain(write):
    mean = np.where(ball(), 800.0, 30.0)
    mean[0, 0, 0] = np.inf
    assert not computed_mask(write(mean))[0, 0, 0]


@pytest.mark.parametrize("mean", [0.0, 500.0])
def test_where_no_brain_stands_out_a_mask_is_asked_for(write, mean):
    with pytest.raises(BadFileError, match=r"run.nii.gz: mean image must be one from which .* give a brain"):
        computed_mask(write(np.full(SHAPE, mean), scale=0 if mean else 1))


def test_a_mask_that_is_there_is_taken(write, tmp_path):
    run = write(np.where(ball(), 800.0, 30.0))
    path = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(ball(5).astype(np.uint8), run.affine), path)
    files = RunFiles(bold=run.path, mask=path)
    np.testing.assert_array_equal(brain_mask(BoldRun.of(files), files), ball(5))
    computed = brain_mask(run, RunFiles(bold=run.path, computed_mask=True))
    np.testing.assert_array_equal(computed, computed_mask(run))
    with pytest.raises(BadFileError, match=r"brain mask must be .* got none"):
        brain_mask(run, RunFiles(bold=run.path))


@pytest.mark.shared
def test_a_real_mean_image_gives_a_mask_of_a_brains_size(shared_data):
    run = BoldRun.open(shared_data / "nifti" / "tedana_echo1.nii.gz")
    litres = computed_mask(run).sum() * abs(np.linalg.det(run.affine[:3, :3])) / 1e6
    assert 1.1 < litres < 1.7
