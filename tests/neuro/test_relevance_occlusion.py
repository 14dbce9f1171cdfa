"""Occlusion: against loops that take out one part at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.errors import ParameterError
from data.parcels.atlases import Atlas
from neuro.explain import Options, relevance
from neuro.explain.occlusion import occluded_places, occluded_regions, regions_of_voxels
from neuro.tokens import CubeTokens, TubeletSpec, collate

from .toy_runs import WINDOWED, parcel_run, stirred, toy_classifier, toy_run


@pytest.mark.parametrize("spec", [TubeletSpec(patch_mm=16, frames=4), WINDOWED], ids=["whole", "windows"])
def test_occlusion_of_places_equals_a_slow_loop(spec: TubeletSpec) -> None:
    run = toy_run(2, 0.5, spec)
    model = stirred(run)
    slow = np.zeros(len(run.centres_S3))
    with torch.inference_mode():
        for clip in run.clips():
            whole = float(model(collate([clip])))
            for place in range(len(slow)):
                signal, amplitude = clip.signal_WSV.copy(), clip.amplitude_SP.copy()
                signal[:, place] = 0
                amplitude[place] = 0
                without = replace(clip, signal_WSV=signal, amplitude_SP=amplitude)
                slow[place] += (whole - float(model(collate([without])))) / len(run.clip_starts())
    np.testing.assert_allclose(occluded_places(model, run), slow, atol=1e-5)
    assert slow.std() > 1e-4


def two_regions(run: CubeTokens) -> Atlas:
    """Two regions that cut through cubes, on a grid of their own, and a third that lies elsewhere."""
    labels = np.zeros((20, 20, 20), np.int32)
    labels[6:9, :, :] = 1
    labels[9:11, 3:, :] = 2
    labels[19, 19, 19] = 3
    affine = run.affine.copy()
    affine[:3, 3] -= 16
    return Atlas(
        name="toy", labels_XYZ=labels, affine=affine, regions=("one", "two", "far"), values=(1, 2, 3)
    )


def test_occlusion_of_regions_takes_out_their_voxels_and_no_others() -> None:
    run = toy_run(2, 0.5, WINDOWED)
    assert isinstance(run, CubeTokens)
    model, atlas = stirred(run), two_regions(run)
    labels_XYZ = np.where(run.run.mask_XYZ, atlas.on_grid(run.shape, run.affine), 0)
    np.testing.assert_array_equal(
        run.untokenize(regions_of_voxels(run, atlas).astype(np.float32)), labels_XYZ
    )
    changes, voxels = occluded_regions(model, run, atlas)
    assert np.isnan(changes[2])  # no voxel of the run lies in it
    for region in (1, 2):
        hidden = labels_XYZ[run.run.mask_XYZ] == region
        amplitude = run.amplitude_SP.reshape(-1).copy()
        amplitude[run.slot_M[hidden]] = 0
        slow = 0.0
        for start in run.clip_starts():
            series = run.series(start, start + 4)
            whole = run.clip_of(series)
            series[:, hidden] = 0
            without = replace(run.clip_of(series), amplitude_SP=amplitude.reshape(run.amplitude_SP.shape))
            with torch.inference_mode():
                slow += float(model(collate([whole]))) - float(model(collate([without])))
        assert changes[region - 1] == pytest.approx(slow / len(run.clip_starts()), abs=1e-5)
        assert abs(slow) > 1e-4
        np.testing.assert_allclose(
            run.untokenize(voxels)[labels_XYZ == region], changes[region - 1], atol=1e-6
        )
    assert not run.untokenize(voxels)[labels_XYZ == 0].any()


def test_relevance_of_regions_keeps_each_voxel_its_own() -> None:
    classifier, run = toy_classifier(), toy_run(100, 0.5)
    assert isinstance(run, CubeTokens)
    atlas = two_regions(run)
    found = relevance(classifier, run, "occlusion", Options(atlas=atlas))
    changes, voxels = occluded_regions(classifier.model_, run, atlas)
    np.testing.assert_array_equal(found.volume(), run.untokenize(voxels))
    assert set(np.unique(found.volume())) == {np.float32(v) for v in (0, *changes[:2])}


def test_a_region_of_profiles_is_taken_out_of_the_others_profiles_too() -> None:
    run = parcel_run("correlation")
    model = stirred(run)
    found = occluded_places(model, run)
    with torch.inference_mode():
        for place in range(5):
            slow = 0.0
            for clip in run.clips():
                signal, amplitude = clip.signal_WSV.copy(), clip.amplitude_SP.copy()
                signal[:, place], signal[:, :, place], amplitude[place] = 0, 0, 0
                without = replace(clip, signal_WSV=signal, amplitude_SP=amplitude)
                slow += float(model(collate([clip]))) - float(model(collate([without])))
            assert found[place] == pytest.approx(slow / 3, abs=1e-5)


def test_regions_of_an_atlas_are_taken_out_of_voxels_alone() -> None:
    cubes = toy_run(1, 0.5)
    assert isinstance(cubes, CubeTokens)
    run = parcel_run("none")
    with pytest.raises(ParameterError, match="tokens must be cubes, to take out regions, got parcel"):
        occluded_regions(stirred(run), run, two_regions(cubes))
