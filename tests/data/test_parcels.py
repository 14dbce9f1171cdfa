"""Parcels against nilearn's masker and a slow loop; what cleaning of means and of voxels give; files."""

from __future__ import annotations

import json
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.maskers import NiftiLabelsMasker

from data.cleaning.clean_voxels import clean_blocks
from data.cleaning.operator import cleaning_operator
from data.cleaning.recipe import Recipe
from data.errors import BadFileError, ParameterError
from data.parcels.atlases import Atlas
from data.parcels.series import Parcels, atlases_in, clean_parcels, open_parcels, parcel_means, with_signal

AFFINE = np.diag([3.0, 3, 3, 1])
SHAPE, T = (9, 10, 8), 60


@pytest.fixture
def atlas() -> Atlas:
    labels = np.zeros(SHAPE, np.int32)
    labels[1:4, 1:9, 1:7] = 1
    labels[4:8, 1:9, 1:4] = 2
    labels[4:8, 1:9, 4:7] = 3
    labels[8, 9, 7] = 4  # a region outside the mask
    return Atlas(
        name="four", labels_XYZ=labels, affine=AFFINE, regions=("a", "b", "c", "d"), values=(1, 2, 3, 4)
    )


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[1:8, 1:9, 1:6] = True
    return mask


@pytest.fixture
def series(mask, rng) -> np.ndarray:
    raw = 9000 + 40 * rng.standard_normal((T, mask.sum())) + np.arange(T)[:, None]
    return raw.astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
def test_means_are_those_of_a_slow_loop(seed, block) -> None:
    rng = np.random.default_rng(seed)
    v, r = int(rng.integers(1, 30)), int(rng.integers(1, 6))
    series_TV = rng.normal(5000, 30, (4, v)).astype(np.float32)
    labels_V = rng.integers(0, r + 1, v).astype(np.int32)
    found = parcel_means(series_TV, labels_V, r, block)
    assert found.shape == (4, r)
    for region in range(r):
        inside = series_TV[:, labels_V == region + 1].astype(float)
        expected = inside.mean(1) if inside.size else np.full(4, np.nan)
        np.testing.assert_allclose(found[:, region], expected, rtol=1e-12)


def test_means_are_nilearns(atlas, mask, series) -> None:
    volume = np.zeros((*SHAPE, T), np.float32)
    volume[mask] = series.T
    masker = NiftiLabelsMasker(
        nib.Nifti1Image(np.where(atlas.labels_XYZ == 4, 0, atlas.labels_XYZ), AFFINE),
        mask_img=nib.Nifti1Image(mask.astype(np.uint8), AFFINE),
        resampling_target=None,
        standardize=None,
    )
    expected = masker.fit_transform(nib.Nifti1Image(volume, AFFINE))
    found = parcel_means(series, atlas.labels_XYZ[mask], 4)
    np.testing.assert_allclose(found[:, :3], expected, rtol=1e-6)
    assert np.isnan(found[:, 3]).all()


def test_a_cleaned_mean_is_the_mean_of_cleaned_voxels(atlas, mask, series) -> None:
    operator = cleaning_operator(T, 2.0, np.random.default_rng(1).normal(size=(T, 6)), Recipe(confounds="6p"))
    parcels = clean_parcels(series, mask, AFFINE, atlas, operator)
    blocks = list(clean_blocks(series, operator))
    cleaned = np.concatenate([block.z_FB * block.std_B for block in blocks], axis=1)
    labels_V = atlas.labels_XYZ[mask]
    for region in range(3):
        mean_F = cleaned[:, labels_V == region + 1].astype(float).mean(1)
        np.testing.assert_allclose(parcels.std_R[region], mean_F.std(ddof=1), rtol=1e-3)
        np.testing.assert_allclose(parcels.z_FR[:, region], mean_F / mean_F.std(ddof=1), atol=3e-3)
        raw = series[:, labels_V == region + 1].mean()
        np.testing.assert_allclose(parcels.mean_R[region], raw, rtol=1e-6)
        np.testing.assert_allclose(parcels.raw()[:, region], mean_F + raw, rtol=1e-6)
    np.testing.assert_allclose(parcels.z_FR[:, :3].std(0, ddof=1), 1, rtol=1e-5)


def test_a_region_without_voxels_is_zero_with_coverage_zero(atlas, mask, series) -> None:
    parcels = clean_parcels(series, mask, AFFINE, atlas, np.eye(T) - 1 / T)
    assert parcels.regions == ("a", "b", "c", "d")
    assert parcels.digest == atlas.digest
    assert not parcels.z_FR[:, 3].any()
    assert (parcels.std_R[3], parcels.coverage_R[3], parcels.mean_R[3]) == (0, 0, 0)
    np.testing.assert_allclose(parcels.coverage_R[:3], [5 / 6, 1, 2 / 3])  # the mask ends at z = 6
    assert np.isfinite(parcels.z_FR).all()
    assert parcels.z_FR.dtype == parcels.mean_R.dtype == parcels.coverage_R.dtype == np.float32


def test_voxels_without_a_signal_count_neither_in_the_mean_nor_as_covered(atlas, mask, series) -> None:
    labels_V = atlas.labels_XYZ[mask]
    first = np.flatnonzero(labels_V == 1)
    hurt = series.copy()
    hurt[:, first[:10]] = 0
    hurt[3, first[10]] = np.nan
    hurt[5, first[11]] = np.inf
    hurt[:, labels_V == 2] = 77.0  # a whole region
    assert np.flatnonzero(~with_signal(hurt, 7)).tolist() == sorted(
        [*first[:12], *np.flatnonzero(labels_V == 2)]
    )
    operator = np.eye(T) - 1 / T
    parcels, whole = (clean_parcels(s, mask, AFFINE, atlas, operator) for s in (hurt, series))
    kept = series[:, first[12:]].mean(1, dtype=float)
    z = (kept - kept.mean()) / kept.std(ddof=1)
    np.testing.assert_allclose(parcels.z_FR[:, 0], z, atol=2e-3)
    assert parcels.coverage_R[0] == pytest.approx((len(first) - 12) / (labels_V == 1).sum() * 5 / 6)
    assert not parcels.z_FR[:, 1].any()
    assert parcels.coverage_R[1] == 0
    np.testing.assert_array_equal(parcels.z_FR[:, 2], whole.z_FR[:, 2])


def test_an_atlas_of_elsewhere_is_refused(atlas, mask, series) -> None:
    far = AFFINE.copy()
    far[0, 3] = 900
    with pytest.raises(ParameterError, match="atlas four must be of the run's space, got no region in which"):
        clean_parcels(series, mask, far, atlas, np.eye(T))


def test_the_series_is_not_copied(rng) -> None:
    """Beside the result some blocks are held, however long the series is."""
    labels = rng.integers(0, 40, 60_000).astype(np.int32)
    series_TV = rng.standard_normal((100, 60_000), dtype=np.float32)
    parcel_means(series_TV[:, :5000], labels[:5000], 39)  # imports
    tracemalloc.start()
    with_signal(series_TV)
    parcel_means(series_TV, labels, 39)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.6 * series_TV.nbytes


def test_written_parcels_are_opened_again(atlas, mask, series, tmp_path) -> None:
    parcels = clean_parcels(series, mask, AFFINE, atlas, np.eye(T) - 1 / T)
    assert atlases_in(tmp_path) == ()
    parcels.write(tmp_path)
    assert atlases_in(tmp_path) == ("four",)
    assert sorted(path.name for path in (tmp_path / "parcels").iterdir()) == ["four.json", "four.npy"]
    opened = open_parcels(tmp_path, "four")
    assert isinstance(opened.z_FR, np.memmap)
    for name in ("z_FR", "mean_R", "std_R", "coverage_R"):
        np.testing.assert_array_equal(getattr(opened, name), getattr(parcels, name))
    assert (opened.atlas, opened.digest, opened.regions) == ("four", atlas.digest, atlas.regions)


def test_what_is_not_known_stays_so(tmp_path) -> None:
    ones = np.ones(2, np.float32)
    unknown = ones * np.nan
    given = Parcels(
        atlas="AAL", digest="x", regions=("a", "b"), z_FR=np.zeros((5, 2), np.float32), mean_R=unknown,
        std_R=unknown, coverage_R=unknown,
    )  # fmt: skip
    given.write(tmp_path)
    assert "NaN" not in (tmp_path / "parcels" / "AAL.json").read_text()
    assert np.isnan(open_parcels(tmp_path, "AAL").coverage_R).all()


def test_absent_and_damaged_parcels_are_told(atlas, mask, series, tmp_path) -> None:
    with pytest.raises(ParameterError, match="must be one of the cache's, which has none, got four"):
        open_parcels(tmp_path, "four")
    clean_parcels(series, mask, AFFINE, atlas, np.eye(T)).write(tmp_path)
    with pytest.raises(ParameterError, match=r"must be one of the cache's \(four\), got five"):
        open_parcels(tmp_path, "five")
    table = tmp_path / "parcels" / "four.json"
    facts = json.loads(table.read_text())
    for broken in ("{", json.dumps({**facts, "regions": ["a"]}), json.dumps({"digest": "x"})):
        table.write_text(broken)
        with pytest.raises(BadFileError, match="cached parcels must be whole"):
            open_parcels(tmp_path, "four")
