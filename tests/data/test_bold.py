"""Runs of fMRI: headers, TR, masks, damaged files, and the real files one by one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from data.errors import BadFileError
from data.scans.bold import BoldRun
from data.scans.nifti import same_grid

AFFINE = np.array([[-3.0, 0, 0, 40], [0, 3, 0.5, -50], [0, -0.5, 3, -30], [0, 0, 0, 1]])
SHAPE = (5, 6, 7, 12)


def write(path: Path, data: np.ndarray, affine=AFFINE, tr: float = 2.0, units=("mm", "sec")) -> Path:
    image = nib.Nifti1Image(data, affine)
    image.header["pixdim"][4] = tr
    image.header.set_xyzt_units(*units)
    nib.save(image, path)
    return path


@pytest.fixture
def data(rng) -> np.ndarray:
    return (1000 + 50 * rng.standard_normal(SHAPE)).astype(np.float32)


@pytest.fixture
def mask(tmp_path, rng) -> Path:
    return write(tmp_path / "mask.nii.gz", (rng.random(SHAPE[:3]) > 0.5).astype(np.uint8), tr=0)


@pytest.mark.parametrize("name", ["run.nii", "run.nii.gz"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64, np.uint8, ">i2"])
def test_voxels_equal_nibabels(tmp_path, rng, name, dtype):
    values = rng.integers(0, 200, SHAPE).astype(dtype)
    run = BoldRun.open(write(tmp_path / name, values))
    assert run.load().dtype == np.float32
    np.testing.assert_array_equal(run.load(), nib.load(tmp_path / name).get_fdata(dtype=np.float32))
    assert (run.shape, run.tr, run.n_frames) == (SHAPE, 2.0, 12)
    np.testing.assert_allclose(run.affine, AFFINE, atol=1e-5)


def test_scaled_integers_are_unscaled(tmp_path, data):
    image = nib.Nifti1Image(data, AFFINE)
    image.header["pixdim"][4] = 2
    image.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "scaled.nii.gz")
    run = BoldRun.open(tmp_path / "scaled.nii.gz")
    np.testing.assert_allclose(run.load(), data, atol=0.02)
    np.testing.assert_allclose(run.load(), nib.load(run.path).get_fdata(), rtol=1e-6)


def test_streaming_in_small_blocks_gives_the_same_voxels(tmp_path, data, mask, monkeypatch):
    path = write(tmp_path / "sub-01_space-MNI_bold.nii.gz", data)
    run = BoldRun.open(path, mask=mask)
    mask_XYZ = run.mask_volume()
    np.testing.assert_array_equal(run.in_mask(), data[mask_XYZ].T)
    monkeypatch.setattr("data.scans.bold.BLOCK_BYTES", 5 * 6 * 7 * 4 * 5)
    assert len(list(run.frames())) == 3
    np.testing.assert_array_equal(run.in_mask(), data[mask_XYZ].T)
    np.testing.assert_array_equal(run.load(), data)
    assert run.space == "MNI"
    assert run.in_mask().dtype == np.float32


def test_opening_reads_no_voxel(tmp_path, data, mask, monkeypatch):
    path = write(tmp_path / "run.nii.gz", data)
    monkeypatch.setattr(BoldRun, "frames", lambda run: pytest.fail("voxels were read"))
    assert BoldRun.open(path, mask=mask).shape == SHAPE


@pytest.mark.parametrize(
    ("raw", "units", "seconds"),
    [(2.5, "sec", 2.5), (2540, "msec", 2.54), (720_000, "usec", 0.72), (3.48, "unknown", 3.48)],
)
def test_header_units_of_time_are_honoured(tmp_path, data, raw, units, seconds):
    run = BoldRun.open(write(tmp_path / "run.nii.gz", data, tr=raw, units=("mm", units)))
    assert run.tr == pytest.approx(seconds, rel=1e-6)
    assert run.notes == ()


def test_milliseconds_without_a_unit_are_understood_and_noted(tmp_path, data):
    run = BoldRun.open(write(tmp_path / "run.nii.gz", data, tr=2000, units=("mm", "unknown")))
    assert run.tr == 2.0
    assert "read as milliseconds" in run.notes[0]


@pytest.mark.parametrize("tr", [0, -2, 2000, np.nan, np.inf])
def test_impossible_tr_is_refused_and_a_sidecar_mends_it(tmp_path, data, tr):
    path = write(tmp_path / "run.nii.gz", data, tr=tr)
    with pytest.raises(BadFileError, match=r"run.nii.gz: TR in the header must be between 0.05 and 30 sec"):
        BoldRun.open(path)
    (tmp_path / "run.json").write_text(json.dumps({"RepetitionTime": 2.2}))
    run = BoldRun.open(path)
    assert run.tr == 2.2
    assert "sidecar's TR of 2.2 s was taken" in run.notes[0]


def test_sidecar_wins_over_the_header_and_null_is_no_statement(tmp_path, data):
    path = write(tmp_path / "run.nii.gz", data, tr=2)
    sidecar = tmp_path / "run.json"
    sidecar.write_text('{"RepetitionTime": null}')
    assert (BoldRun.open(path).tr, BoldRun.open(path).notes) == (2.0, ())
    sidecar.write_text('{"RepetitionTime": 2.0005}')
    assert (BoldRun.open(path).tr, BoldRun.open(path).notes) == (2.0005, ())
    sidecar.write_text('{"RepetitionTime": 0}')
    with pytest.raises(BadFileError, match=r"run.json: RepetitionTime must be"):
        BoldRun.open(path)
    for broken in ("{", '["RepetitionTime"]', '{"RepetitionTime": "soon"}', '{"RepetitionTime": [2]}'):
        sidecar.write_text(broken)
        with pytest.raises(BadFileError, match=r"run.json: sidecar must be a JSON object"):
            BoldRun.open(path)


def test_a_unit_that_is_no_time_is_refused(tmp_path, data):
    path = write(tmp_path / "run.nii.gz", data, units=("mm", "hz"))
    with pytest.raises(BadFileError, match="unit of the fourth axis must be a time, got hz"):
        BoldRun.open(path)


@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6, 7, 4, 2)])
def test_only_four_axes_are_a_run(tmp_path, shape):
    path = write(tmp_path / "odd.nii.gz", np.zeros(shape, np.float32))
    with pytest.raises(BadFileError, match=rf"odd.nii.gz: run of fMRI must be 4-D .* got {len(shape)}-D"):
        BoldRun.open(path)


def cut(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
def test_truncated_gzip_is_caught_on_opening(tmp_path, data, share):
    path = write(tmp_path / "run.nii.gz", data)
    cut(path, share)
    with pytest.raises(BadFileError, match=r"run.nii.gz: .*cut short or damaged"):
        BoldRun.open(path)


def test_truncation_after_opening_is_caught_on_reading(tmp_path, data, mask):
    path = write(tmp_path / "run.nii.gz", data)
    run = BoldRun.open(path, mask=mask)
    cut(path, 0.6)
    for read in (run.load, run.in_mask):
        with pytest.raises(BadFileError, match=r"must be 12 frames, as its header promises, got .* frame 0"):
            read()


def test_damage_inside_a_gzip_is_caught_on_reading(tmp_path, data):
    path = write(tmp_path / "run.nii.gz", data)
    run = BoldRun.open(path)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 64] = bytes(64)
    path.write_bytes(bytes(raw))
    with pytest.raises(BadFileError, match=r"run.nii.gz"):
        run.load()


def test_truncated_plain_file_is_caught_on_opening(tmp_path, data):
    path = write(tmp_path / "run.nii", data)
    cut(path, 0.9)
    with pytest.raises(BadFileError, match=r"size of the data must be 10,432 bytes for shape"):
        BoldRun.open(path)


def test_header_that_promises_more_than_gzip_can_hold_is_refused_unread(tmp_path, data):
    path = write(tmp_path / "run.nii.gz", data)
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[40:56] = np.array([4, 400, 400, 400, 30000, 1, 1, 1], "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(raw)))
    with pytest.raises(BadFileError, match="size of the data must be"):
        BoldRun.open(path)


def test_gzip_of_several_members_is_whole(tmp_path, data):
    path = write(tmp_path / "run.nii.gz", data)
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(raw[:5000]) + gzip.compress(raw[5000:]))
    np.testing.assert_array_equal(BoldRun.open(path).load(), data)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "unreadable"), (b"not an image at all" * 40, "unreadable"), (None, "nothing there")],
)
def test_what_is_no_image_is_named(tmp_path, content, message):
    path = tmp_path / "run.nii.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadFileError, match=rf"run.nii.gz: image must be .*{message}"):
        BoldRun.open(path)


def test_link_without_content_says_how_to_fetch_it(tmp_path):
    path = tmp_path / "run.nii.gz"
    path.symlink_to(tmp_path / "annex" / "gone")
    with pytest.raises(BadFileError, match="datalad get"):
        BoldRun.open(path)


def test_complex_voxels_and_other_formats_are_refused(tmp_path, data):
    with pytest.raises(BadFileError, match="voxels must be real numbers, got complex64"):
        BoldRun.open(write(tmp_path / "c.nii.gz", data.astype(np.complex64)))
    nib.save(nib.MGHImage(data, AFFINE), tmp_path / "run.mgz")
    with pytest.raises(BadFileError, match="image must be NIfTI, got MGHImage"):
        BoldRun.open(tmp_path / "run.mgz")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_affine_that_places_nothing_is_refused(tmp_path, data, bad):
    path = write(tmp_path / "run.nii", data)
    raw = bytearray(path.read_bytes())
    raw[280:296] = np.full(4, bad, "<f4").tobytes()  # srow_x
    path.write_bytes(bytes(raw))
    with pytest.raises(BadFileError, match="affine must be finite and invertible"):
        BoldRun.open(path)


def test_headers_without_or_with_two_transforms_are_noted(tmp_path, data):
    image = nib.Nifti1Image(data, None)
    image.header["pixdim"][4] = 2
    nib.save(image, tmp_path / "none.nii")
    assert "neither qform nor sform" in BoldRun.open(tmp_path / "none.nii").notes[0]
    image = nib.Nifti1Image(data, AFFINE)
    image.header["pixdim"][4] = 2
    image.set_qform(np.diag([3.0, 3, 3, 1]), code=1)
    image.set_sform(AFFINE, code=4)
    nib.save(image, tmp_path / "two.nii")
    run = BoldRun.open(tmp_path / "two.nii")
    assert "disagree" in run.notes[0]
    np.testing.assert_allclose(run.affine, AFFINE, atol=1e-5)


def test_mask_that_is_absent_empty_or_elsewhere_is_refused(tmp_path, data):
    path = write(tmp_path / "run.nii.gz", data)
    with pytest.raises(BadFileError, match=r"gone.nii.gz: brain mask must be a file, got nothing"):
        BoldRun.open(path, mask=tmp_path / "gone.nii.gz")
    with pytest.raises(BadFileError, match=r"run.nii.gz: brain mask must be .* got none"):
        BoldRun.open(path).in_mask()
    with pytest.raises(BadFileError, match=r"gone.tsv: confounds table must be a file"):
        BoldRun.open(path, confounds=tmp_path / "gone.tsv")
    other = write(tmp_path / "other.nii.gz", np.ones((5, 6, 8), np.uint8))
    with pytest.raises(BadFileError, match=r"other.nii.gz: .*run.nii.gz \(shape \(5, 6, 7\)\), got shape"):
        BoldRun.open(path, mask=other)
    moved = AFFINE.copy()
    moved[0, 3] += 1
    away = write(tmp_path / "away.nii.gz", np.ones(SHAPE[:3], np.uint8), affine=moved)
    with pytest.raises(BadFileError, match=r"away.nii.gz: brain mask's grid .*got affine"):
        BoldRun.open(path, mask=away)
    empty = write(tmp_path / "empty.nii.gz", np.zeros(SHAPE[:3], np.uint8))
    with pytest.raises(BadFileError, match=r"empty.nii.gz: .* got zero everywhere"):
        BoldRun.open(path, mask=empty).in_mask()
    flat = write(tmp_path / "flat.nii.gz", np.ones((5, 6, 7, 3), np.uint8))
    with pytest.raises(BadFileError, match="brain mask must be 3-D"):
        BoldRun.open(path, mask=flat)


def test_grids_are_compared_at_their_corners():
    turned = AFFINE.copy()
    turned[:3, :3] = AFFINE[:3, :3] @ np.array([[1, 0.001, 0], [-0.001, 1, 0], [0, 0, 1]])
    assert same_grid((5, 5, 5), AFFINE, (5, 5, 5), turned)
    assert not same_grid((100, 100, 50), AFFINE, (100, 100, 50), turned)
    assert not same_grid((5, 5, 5), AFFINE, (5, 5, 6), AFFINE)


REAL = {
    # file: shape, TR, diagonal of the affine, origin, words of the notes
    "FIACH_motion_ex.nii.gz": (
        (64, 64, 30, 13),
        1.0,
        (-3.281, 3.131, 3.807),
        (105.678, -63.879, -108.599),
        ["1 s"],
    ),
    "PyMVPA_bold_haxby_slice.nii.gz": ((40, 20, 1, 1452), 2.5, (-3.1, 3.75, 3.75), (60.45, -35.625, 0), []),
    "cudaBayesregData_fmri.nii.gz": ((64, 64, 5, 45), 1.0, (-4, 4, 6), (126, -126, -12), ["1 s", "neither"]),
    "cudaBayesregData_fmri_filtered_func_data.nii.gz": (
        (64, 64, 5, 45),
        3.0,
        (-4, 4, 6),
        (126, -126, -12),
        ["neither"],
    ),
    "nibabel_functional.nii": ((17, 21, 3, 20), 2.0, (-4, 4, 8), (32, -40, 0), []),
    "niivue_pcasl_NC.nii.gz": (
        (52, 68, 20, 10),
        2.54,
        (2.997, 2.996, 5.999),
        (-79.696, -115.836, -50.959),
        [],
    ),
    "nitime_fmri1.nii.gz": ((10, 10, 18, 40), 1.35, (-2.083, 0.425, 0.469), (96.996, -30.811, -71.397), []),
    "tedana_echo1.nii.gz": ((39, 50, 33, 5), 2.0, (-3.75, -3.75, 3.8), (69.375, 97.939, -67.895), []),
    "tedana_mask.nii.gz": "3-D",
}


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL)
def test_real_files_load_or_say_why_not(shared_data, name):
    path = shared_data / "nifti" / name
    if REAL[name] == "3-D":
        with pytest.raises(BadFileError, match=rf"{name}: run of fMRI must be 4-D .* got 3-D"):
            BoldRun.open(path)
        return
    shape, tr, diagonal, origin, words = REAL[name]
    run = BoldRun.open(path)
    assert (run.shape, run.tr) == (shape, tr)
    np.testing.assert_allclose(np.diag(run.affine)[:3], diagonal, atol=1e-3)
    np.testing.assert_allclose(run.affine[:3, 3], origin, atol=1e-3)
    assert len(run.notes) == len(words)
    assert all(word in note for word, note in zip(words, run.notes, strict=True))
    np.testing.assert_allclose(run.load(), nib.load(path).get_fdata(dtype=np.float32), rtol=2e-7)


@pytest.mark.shared
def test_every_real_image_is_in_the_table(shared_data):
    assert {path.name for path in (shared_data / "nifti").glob("*.nii*")} == set(REAL)


@pytest.mark.shared
def test_a_real_mask_of_the_run_fits_and_another_does_not(shared_data):
    folder = shared_data / "nifti"
    run = BoldRun.open(folder / "tedana_echo1.nii.gz", mask=folder / "tedana_mask.nii.gz")
    mask_XYZ = nib.load(folder / "tedana_mask.nii.gz").get_fdata() != 0
    np.testing.assert_array_equal(
        run.in_mask(), nib.load(folder / "tedana_echo1.nii.gz").get_fdata(dtype=np.float32)[mask_XYZ].T
    )
    with pytest.raises(BadFileError, match="brain mask's grid"):
        BoldRun.open(folder / "FIACH_motion_ex.nii.gz", mask=folder / "tedana_mask.nii.gz")
