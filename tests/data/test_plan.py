"""What would be used and what not, and why: every kind of bad input through the plan."""

from __future__ import annotations

import gzip
import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from data.caches.cache import prepare
from data.caches.plan import LEAVE_OUT, USE, Plan, plan
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort
from data.scans.bold import BoldRun

RECIPE = Recipe(confounds="6p")
SPACE = "space-MNI152NLin2009cAsym"


@pytest.fixture
def pair(tmp_path, write_run) -> Path:
    """The derivative of a patient and a control, of 60 frames each."""
    root = tmp_path / "fmriprep"
    for i in (1, 2):
        write_run(root, f"0{i}", n_frames=60, seed=i)
    (root / "participants.tsv").write_text("participant_id\tgroup\tsite\nsub-01\tPD\tA\nsub-02\tHC\tB\n")
    return root


def planned(root: Path, recipe: Recipe = RECIPE, **wanted: object) -> Plan:
    return plan(Cohort.from_derivatives(root, **wanted), recipe)


def bold_of(root: Path, subject: str = "01") -> Path:
    return next(root.glob(f"sub-{subject}/func/*preproc_bold.nii.gz"))


def part_of(root: Path, ending: str, subject: str = "01") -> Path:
    return next(root.glob(f"sub-{subject}/func/*{ending}"))


def verdict(found: Plan, what: str = "sub-01_task-rest") -> tuple[str, str]:
    (row,) = found.table[found.table["what"] == what].to_dict("records")
    return row["verdict"], row["why"] or row["notes"]


def rewrite(path: Path, change: Callable[[nib.Nifti1Image], nib.Nifti1Image | None]) -> None:
    """Save an image again, changed in place or replaced."""
    image = nib.load(path)
    image = nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
    nib.save(change(image) or image, path)


def test_a_whole_cohort_would_be_used(derivative):
    found = planned(derivative)
    table = found.table
    assert list(table["verdict"]) == [USE] * 4
    assert list(table["what"]) == [f"sub-0{i}_task-rest" for i in range(1, 5)]
    assert list(table["frames"]) == [80] * 4
    assert list(table["tr"]) == [2] * 4
    assert list(table["voxel_mm"]) == ["4"] * 4
    assert list(table["site"]) == ["A", "A", "B", "B"]
    assert list(table["why"]) == [""] * 4
    assert found.summary() == (
        f"would use 4 runs of 4 people from 2 sites and leave out 0; cleaning {RECIPE.identity}"
    )
    assert len(found.used) == 4
    assert found.left_out.empty


def test_the_plan_is_what_preparing_does(pair, tmp_path):
    bold_of(pair, "02").write_bytes(b"no image")
    cohort = Cohort.from_derivatives(pair)
    found = plan(cohort, RECIPE)
    cache = prepare(cohort, RECIPE, tmp_path / "cache", progress=False, on_error="exclude")
    assert list(cache.table["run_id"]) == list(found.used["what"])
    for column, name in {"tr": "tr", "n_frames": "kept", "n_voxels": "voxels"}.items():
        assert list(cache.table[column]) == list(found.used[name])
    np.testing.assert_allclose(cache.table["freedom"], found.used["freedom"], atol=0.06)
    assert set(cache.excluded) == set(found.left_out[["what", "why"]].itertuples(index=False, name=None))


def test_no_voxel_of_a_run_with_a_mask_is_read(pair, monkeypatch):
    monkeypatch.setattr(BoldRun, "frames", lambda run: pytest.fail("voxels were read"))
    assert len(planned(pair).used) == 2


def test_the_table_goes_to_a_file_and_to_a_terminal(pair, tmp_path):
    bold_of(pair).unlink()
    table = pair / "participants.tsv"
    table.write_text(table.read_text() + "sub-09\tPD\tA\n")
    found = planned(pair)
    written = pd.read_csv(found.to_tsv(tmp_path / "plan.tsv"), sep="\t", keep_default_na=False)
    assert list(written["what"]) == list(found.table["what"])
    assert list(written["frames"]) == ["60.0"] + ["n/a"] * 2
    short = found.short
    assert list(short["frames"]) == ["60"] + [""] * 2
    assert short["why, or notes"].iloc[1].startswith("bold: no such file")
    assert short["why, or notes"].iloc[2] == "in the participants table, but has no run"
    assert all(isinstance(word, str) for word in short.to_numpy().ravel())


def of_shape(*shape: int) -> Callable[[nib.Nifti1Image], nib.Nifti1Image]:
    def change(image: nib.Nifti1Image) -> nib.Nifti1Image:
        changed = nib.Nifti1Image(np.ones(shape, np.float32), image.affine)
        changed.header["pixdim"][4] = 2
        return changed

    return change


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((6, 7, 5), "must be 4-D (X, Y, Z, T), got 3-D"),
        ((6, 7, 5, 10, 2), "must be 4-D (X, Y, Z, T), got 5-D"),
        ((6, 7, 5, 1), "must be of many frames, got a single one"),
        ((6, 7, 5, 2), "confounds table must be of 2 rows"),
    ],
)
def test_images_that_are_no_runs(pair, shape, words):
    rewrite(bold_of(pair), of_shape(*shape))
    what, why = verdict(planned(pair))
    assert what == LEAVE_OUT
    assert words in why
    assert len(planned(pair).used) == 1


@pytest.mark.parametrize("frames", [2, 3, 20])
def test_runs_too_short_for_the_recipe(pair, frames):
    rewrite(bold_of(pair), of_shape(6, 7, 5, frames))
    part_of(pair, "timeseries.tsv").unlink()
    what, why = verdict(planned(pair, Recipe(confounds="none")))
    assert what == LEAVE_OUT
    assert why.startswith(f"{bold_of(pair)}: frames must be")


def test_damaged_files(derivative):
    whole = bold_of(derivative).read_bytes()
    bold_of(derivative).write_bytes(whole[: len(whole) // 2])
    bold_of(derivative, "02").write_bytes(b"")
    raw = bytearray(gzip.decompress(bold_of(derivative, "03").read_bytes()))
    raw[40:50] = struct.pack("<5h", 4, 400, 400, 400, 3000)
    bold_of(derivative, "03").write_bytes(gzip.compress(bytes(raw)))
    raw[40:50] = struct.pack("<5h", 4, 30000, 30000, 30000, 30000)
    bold_of(derivative, "04").write_bytes(gzip.compress(bytes(raw)))
    found = planned(derivative)
    assert found.used.empty
    assert "cut short or damaged" in verdict(found)[1]
    assert "unreadable" in verdict(found, "sub-02_task-rest")[1]
    assert "size of the data must be" in verdict(found, "sub-03_task-rest")[1]
    assert "volume must be of at most" in verdict(found, "sub-04_task-rest")[1]
    assert found.summary().startswith("would use 0 runs of 0 people")


def with_extension(raw: bytes, size: int) -> bytes:
    """The bytes of a NIfTI file with one header extension that claims `size` bytes."""
    header = bytearray(raw[:352])
    header[108:112] = struct.pack("<f", 352 + 64)
    header[348] = 1
    return bytes(header) + struct.pack("<2i", size, 6) + bytes(56) + raw[352:]


@pytest.mark.parametrize(
    ("bomb", "words"),
    [
        (lambda raw: raw, "MB beyond it; the header is wrong"),
        (lambda raw: with_extension(raw, 0), "an extension of 0 bytes where 64 are left"),
        (lambda raw: with_extension(raw, 2**31 - 16), "an extension of 2,147,483,632 bytes"),
        (lambda raw: with_extension(raw, -16), "an extension of -16 bytes"),
        (lambda raw: raw[:108] + struct.pack("<f", 4e9) + raw[112:], "an offset of 4,000,000,000 bytes"),
    ],
)
def test_bombs_do_not_go_off(pair, bomb, words):
    """A small header before a stream that inflates to 100 MB, most of which is never held."""
    raw = gzip.decompress(bold_of(pair).read_bytes())
    with gzip.open(bold_of(pair), "wb", compresslevel=1) as stream:
        stream.write(bomb(raw))
        for _ in range(100):
            stream.write(bytes(1 << 20))
    tracemalloc.start()
    what, why = verdict(planned(pair))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert what == LEAVE_OUT
    assert words in why
    assert peak < 40 << 20


def test_a_run_that_is_larger_than_the_memory_is_left_out(pair, monkeypatch):
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 100, "SC_PHYS_PAGES": 100}.__getitem__)
    what, why = verdict(planned(pair))
    assert what == LEAVE_OUT
    assert "must be one that fits the memory" in why


def test_an_extension_that_is_whole_is_accepted(pair):
    raw = gzip.decompress(bold_of(pair).read_bytes())
    bold_of(pair).write_bytes(gzip.compress(with_extension(raw, 64)))
    assert verdict(planned(pair))[0] == USE


@pytest.mark.parametrize("tr", [0, -2, np.nan, 2e6])
def test_impossible_repetition_times(pair, tr):
    part_of(pair, "preproc_bold.json").unlink()
    rewrite(bold_of(pair), lambda image: image.header["pixdim"].__setitem__(4, tr))
    assert "TR in the header must be between" in verdict(planned(pair))[1]
    (pair / "task-rest_bold.json").write_text(json.dumps({"RepetitionTime": 2.1}))
    found = planned(pair)
    assert verdict(found)[0] == USE
    assert found.table["tr"][0] == 2.1
    assert f"{pair / 'task-rest_bold.json'}'s TR of 2.1 s was taken" in verdict(found)[1]


def test_milliseconds_without_a_unit_are_noted(pair):
    def change(image: nib.Nifti1Image) -> None:
        image.header["pixdim"][4] = 2000
        image.header.set_xyzt_units("mm", "unknown")

    part_of(pair, "preproc_bold.json").unlink()
    rewrite(bold_of(pair), change)
    what, notes = verdict(planned(pair))
    assert what == USE
    assert "the header's TR of 2000 has no unit and was read as milliseconds" in notes


def placed(root: Path, affine: np.ndarray) -> None:
    """Put run and mask of the first subject upon another affine."""
    for path in (bold_of(root), part_of(root, "brain_mask.nii.gz")):
        rewrite(path, lambda image: nib.Nifti1Image(np.asarray(image.dataobj), affine, image.header))


def test_transforms_that_disagree_are_noted(pair):
    rewrite(bold_of(pair), lambda image: image.set_qform(np.diag([4.0, 4, 4, 1]), code=1))
    what, notes = verdict(planned(pair))
    assert what == USE
    assert "qform and sform disagree by more than 1 mm" in notes


def test_oblique_and_left_handed_grids_are_noted_and_used(pair):
    assert "the voxel axes are left-handed" in verdict(planned(pair))[1]
    cos, sin = np.cos(np.deg2rad(10)), np.sin(np.deg2rad(10))
    oblique = 4 * np.array([[1, 0, 0, -3], [0, cos, -sin, 0], [0, sin, cos, 0], [0, 0, 0, 0.25]])
    placed(pair, oblique)
    what, notes = verdict(planned(pair))
    assert what == USE
    assert "the grid is oblique, by 10.0 degrees" in notes
    assert "left-handed" not in notes
    assert "the field of view is 20 mm thin: most of the brain is not in it" in notes


def test_broken_affines(pair):
    raw = bytearray(gzip.decompress(bold_of(pair).read_bytes()))
    raw[280:296] = np.full(4, np.nan, "<f4").tobytes()
    bold_of(pair).write_bytes(gzip.compress(bytes(raw)))
    assert "affine must be finite and invertible" in verdict(planned(pair))[1]


def test_masks(pair):
    mask = part_of(pair, "brain_mask.nii.gz")
    rewrite(mask, lambda image: nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine))
    assert "brain mask must be non-zero somewhere" in verdict(planned(pair))[1]
    rewrite(mask, lambda image: nib.Nifti1Image(np.ones((6, 7, 6), np.uint8), image.affine))
    assert "brain mask's grid must be that of" in verdict(planned(pair))[1]
    rewrite(mask, lambda image: nib.Nifti1Image(np.ones((6, 7, 5), np.uint8), image.affine + 1))
    assert "brain mask's grid must be that of" in verdict(planned(pair))[1]
    mask.unlink()
    what, why = verdict(planned(pair))
    assert what == LEAVE_OUT
    assert why.startswith("mask: no such file")


def test_confounds(pair):
    path = part_of(pair, "timeseries.tsv")
    table = pd.read_csv(path, sep="\t")

    def why(changed: pd.DataFrame, recipe: Recipe = RECIPE) -> tuple[str, str]:
        changed.to_csv(path, sep="\t", index=False, na_rep="n/a")
        return verdict(planned(pair, recipe))

    assert "must be of 60 rows, one a frame, got 50 rows" in why(table[:50])[1]
    holes = table.assign(trans_x=table["trans_x"].where(table.index != 7))
    assert "confound 'trans_x' must be finite in every frame, got 1 missing" in why(holes)[1]
    assert why(holes, Recipe(confounds="none"))[0] == USE
    assert "trans_x" in why(table.drop(columns=["trans_x"]))[1]
    assert why(table.assign(words="yes", more=1))[0] == LEAVE_OUT
    assert why(table.assign(unheard_of=range(60)))[0] == USE
    path.unlink()
    assert "confounds table must be there for the strategy '6p', got none" in verdict(planned(pair))[1]


def test_recipes_that_do_not_fit(pair):
    assert "low_pass must be below 0.25 Hz" in verdict(planned(pair, Recipe(low_pass=0.3)))[1]
    greedy = planned(pair, Recipe(confounds="simple", low_pass=0.02))
    assert "degrees of freedom left by cleaning must be at least 5" in verdict(greedy)[1]
    assert greedy.table["frames"].tolist() == [60] * 2  # the header is told all the same


def test_runs_of_one_name_and_links_without_content(derivative):
    bold = bold_of(derivative)
    bold.with_suffix("").write_bytes(gzip.decompress(bold.read_bytes()))
    second = bold_of(derivative, "02")
    second.unlink()
    second.symlink_to("../../.git/annex/objects/gone.nii.gz")
    bold_of(derivative, "03").write_bytes(b"/annex/objects/SHA256E-s100--0a1b.nii.gz\n")
    mask = part_of(derivative, "brain_mask.nii.gz", "04")
    mask.write_bytes(b"/annex/objects/SHA256E-s100--0a1c.nii.gz\n")
    found = planned(derivative)
    assert found.used.empty
    assert "2 files of one name" in verdict(found)[1]
    for subject in ("02", "03", "04"):
        assert "datalad get" in verdict(found, f"sub-{subject}_task-rest")[1]


def test_echoes_spaces_and_resolutions_have_a_row_each(pair):
    func = pair / "sub-01" / "func"
    for middle in ("echo-1", "echo-2", "space-T1w", f"{SPACE}_res-1"):
        (func / f"sub-01_task-rest_{middle}_desc-preproc_bold.nii.gz").write_bytes(b"")
    found = planned(pair)
    assert len(found.used) == 2
    reasons = dict(found.left_out[["what", "why"]].itertuples(index=False, name=None))
    assert [why.split(";")[0] for _, why in sorted(reasons.items())] == [
        "echo 1 by itself",
        "echo 2 by itself",
        "resolution 1",
        "space T1w",
    ]


@pytest.fixture
def denoised(pair) -> Path:
    """The pair as XCP-D leaves one: denoised runs, of which one is censored, and motion tables."""
    root = pair.parent / "xcp_d"
    root.mkdir()
    (pair / "participants.tsv").rename(root / "participants.tsv")
    for i in (1, 2):
        func = root / f"sub-0{i}" / "func"
        func.mkdir(parents=True)
        bold = bold_of(pair, f"0{i}")
        for path in (bold, bold.with_name(bold.name.replace(".nii.gz", ".json"))):
            path.rename(func / path.name.replace("preproc", "denoised"))
        moved = part_of(pair, "timeseries.tsv", f"0{i}")
        table = pd.read_csv(moved, sep="\t").iloc[:, :6].assign(framewise_displacement=0.1)
        table.to_csv(func / f"sub-0{i}_task-rest_motion.tsv", sep="\t", index=False)
        outliers = pd.DataFrame({"framewise_displacement": np.zeros(60, int)})
        outliers.to_csv(func / f"sub-0{i}_task-rest_outliers.tsv", sep="\t", index=False)
    return root


def test_denoised_runs_want_no_confounds(denoised):
    what, why = verdict(planned(denoised))
    assert what == LEAVE_OUT
    assert "confounds must be 'none', since the run is already denoised (desc-denoised), got '6p'" in why
    assert "use --confounds none" in why
    what, notes = verdict(planned(denoised, Recipe(confounds="none")))
    assert what == USE
    assert "its mask is of another derivative" in notes
    assert "--high-pass 0 --low-pass 0" in notes
    bare = planned(denoised, Recipe(confounds="none", high_pass=None, low_pass=None))
    assert len(bare.used) == 2
    assert "--high-pass" not in verdict(bare)[1]


def test_censored_runs_take_the_rows_of_their_frames(denoised):
    func = denoised / "sub-01" / "func"
    bold = next(func.glob("*bold.nii.gz"))
    rewrite(bold, lambda image: image.slicer[..., :50])
    recipe = Recipe(confounds="none")
    assert "must be of 50 rows" in verdict(planned(denoised, recipe))[1]
    outliers = pd.DataFrame({"framewise_displacement": np.r_[np.zeros(50, int), np.ones(10, int)]})
    outliers.to_csv(func / "sub-01_task-rest_outliers.tsv", sep="\t", index=False)
    assert verdict(planned(denoised, recipe))[0] == USE


def test_what_differs_between_runs_is_noted(pair):
    for path in (bold_of(pair), part_of(pair, "brain_mask.nii.gz")):
        rewrite(path, lambda image: nib.Nifti1Image(np.asarray(image.dataobj), np.diag([3.0, 3, 3, 1])))
    (bold_of(pair).parent / bold_of(pair).name.replace("nii.gz", "json")).write_text(
        '{"RepetitionTime": 2.5}'
    )
    found = planned(pair)
    assert found.notes == (
        "repetition times differ (2, 2.5 s): a common one is set with --tr",
        "voxel sizes differ (3, 4 mm): a common grid is set with --voxel-mm",
    )
    common = planned(pair, Recipe(confounds="6p", tr=2.5, voxel_mm=4))
    assert len(common.used) == 2
    assert common.notes == ()
