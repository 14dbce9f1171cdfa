"""Cubes against a slow twin, their exact inverse, what they must not lose; clips as padded batches."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data.caches.cache import Cache
from data.caches.cached_run import CachedRun
from data.errors import ParameterError
from neuro.tokens import (
    Clip,
    CubeTokens,
    TubeletSpec,
    VolumeSpec,
    collate,
    cubes,
    relative_amplitude,
    untokenize,
)

from .made_runs import affine_of, made_run


def slow_cubes(
    run: CachedRun, patch: tuple[int, int, int], start: int, frames: int, width: int, *, dense: bool
):
    """[(centre in mm, signal (W, F, x, y, z), amplitude (x, y, z))] by loops over voxels, row-major."""
    shape = run.mask_XYZ.shape
    voxel = {tuple(int(i) for i in ijk): m for m, ijk in enumerate(np.argwhere(run.mask_XYZ))}
    z_TV, amplitude_V = np.asarray(run.series_TV, np.float32), relative_amplitude(run.std_V)
    found = []
    for corner in np.ndindex(*(-(-s // p) for s, p in zip(shape, patch, strict=True))):
        first = np.array(corner) * patch
        signal = np.zeros((frames // width, width, *patch), np.float32)
        amplitude = np.zeros(patch, np.float32)
        touched = False
        for step in np.ndindex(*patch):
            m = voxel.get(tuple(int(i) for i in first + step))
            if m is not None:
                touched = True
                amplitude[step] = amplitude_V[m]
                for t in range(frames):
                    signal[(t // width, t % width, *step)] = z_TV[start + t, m]
        if touched or dense:
            corners = [run.affine @ [*(first + end), 1] for end in (np.zeros(3), np.array(patch) - 1)]
            found.append((np.mean(corners, axis=0)[:3], signal, amplitude))
    return found


masks = hnp.arrays(bool, st.tuples(*[st.integers(1, 7)] * 3)).filter(lambda m: m.any())
affines = st.builds(
    affine_of,
    voxel_mm=st.tuples(*[st.sampled_from([2.0, 3.3, 4.0, -4.0, 6.0])] * 3),
    origin_mm=st.tuples(*[st.floats(-90, 90)] * 3),
    turn=st.floats(-1, 1),
)
specs = st.sampled_from(
    [
        *(TubeletSpec(patch_mm=mm, frames=4, window=w) for mm in (4, 8, 13) for w in (None, 1, 2)),
        VolumeSpec(patch_mm=8, frames=3),
        TubeletSpec(patch_mm=8, frames=4, window=2, whole_grid=True),
    ]
)


@settings(max_examples=30, deadline=None)
@given(mask=masks, affine=affines, spec=specs, start=st.integers(0, 2))
def test_cutting_equals_the_slow_twin(
    mask: np.ndarray, affine: np.ndarray, spec: VolumeSpec, start: int
) -> None:
    run = made_run(mask, affine=affine)
    cut = cubes(run, spec)
    clip = cut.clip(start)
    width = spec.window_frames
    slow = slow_cubes(run, cut.patch_voxels, start, spec.frames, width, dense=spec.whole_grid)
    assert cut.layout.signal == (width, *cut.patch_voxels)
    assert cut.layout.amplitude == cut.patch_voxels
    assert clip.signal_WSV.dtype == clip.amplitude_SP.dtype == clip.centres_S3.dtype == np.float32
    np.testing.assert_array_equal(
        clip.signal_WSV.reshape(spec.frames // width, len(slow), width, *cut.patch_voxels),
        np.stack([signal for _, signal, _ in slow], axis=1),
    )
    np.testing.assert_array_equal(
        clip.amplitude_SP.reshape(-1, *cut.patch_voxels), np.stack([amplitude for *_, amplitude in slow])
    )
    np.testing.assert_allclose(clip.centres_S3, [centre for centre, *_ in slow], atol=1e-4)
    middles = [2.0 * (width * w + width / 2) for w in range(spec.frames // width)]
    np.testing.assert_allclose(clip.seconds_W, middles)


@settings(max_examples=30, deadline=None)
@given(mask=masks, affine=affines, spec=specs, start=st.integers(0, 2))
def test_untokenize_is_the_exact_inverse(
    mask: np.ndarray, affine: np.ndarray, spec: VolumeSpec, start: int
) -> None:
    run = made_run(mask, affine=affine)
    cut = cubes(run, spec)
    expected = np.zeros((*mask.shape, spec.frames), np.float32)
    expected[mask] = np.asarray(run.series_TV[start : start + spec.frames], np.float32).T
    np.testing.assert_array_equal(untokenize(cut, cut.clip(start).signal_WSV), expected)
    amplitude = np.zeros(mask.shape, np.float32)
    amplitude[mask] = relative_amplitude(run.std_V)
    np.testing.assert_array_equal(untokenize(cut, cut.amplitude_SP), amplitude)


@settings(max_examples=30, deadline=None)
@given(mask=masks, spec=specs)
def test_a_value_a_cube_fills_its_voxels_of_the_brain(mask: np.ndarray, spec: VolumeSpec) -> None:
    cut = cubes(made_run(mask), spec)
    values = np.arange(1, len(cut.centres_S3) + 1)
    for given_values in (values, values[:, None]):
        volume = untokenize(cut, given_values)
        assert volume.dtype == np.float32
        assert not volume[~mask].any()
        for ijk in np.argwhere(mask):
            owner = [
                n for n, origin in enumerate(cut.origins_S3) if (origin == ijk - ijk % cut.patch_voxels).all()
            ]
            assert volume[tuple(ijk)] == values[owner[0]]


def test_only_cubes_that_touch_the_brain_are_kept(cache: Cache) -> None:
    run = cache.run(0)
    cut = cubes(run, TubeletSpec(patch_mm=16, frames=10))
    assert cut.inside_SP.any(axis=1).all()
    assert cut.inside_SP.sum() == run.mask_XYZ.sum()
    dense = cubes(run, TubeletSpec(patch_mm=16, frames=10, whole_grid=True))
    grid = np.prod([-(-s // p) for s, p in zip(run.mask_XYZ.shape, cut.patch_voxels, strict=True)])
    assert len(dense.centres_S3) == grid
    assert len(cut.centres_S3) < 0.6 * grid
    np.testing.assert_array_equal(dense.centres_S3[dense.inside_SP.any(axis=1)], cut.centres_S3)
    assert dense.layout == cut.layout


def test_a_cube_is_whole_voxels_of_the_run() -> None:
    mask = np.ones((9, 9, 9), bool)
    cut = cubes(made_run(mask, affine=affine_of((3.0, 2.0, 40.0))), TubeletSpec(patch_mm=16, frames=3))
    assert cut.patch_voxels == (5, 8, 1)


def test_amplitude_survives_and_a_scanners_gain_does_not(cache: Cache) -> None:
    run = cache.run(0)
    quiet = np.array(run.std_V)
    quiet[:50] *= 0.3
    plain, louder, lowered = (
        cubes(replace(run, std_V=std)).amplitude_SP for std in (run.std_V, 7 * np.asarray(run.std_V), quiet)
    )
    np.testing.assert_allclose(louder, plain, atol=1e-3)
    assert np.abs(lowered - plain).max() > 0.5


def test_dead_voxels_stand_at_the_median() -> None:
    amplitude = relative_amplitude(np.array([0, 1, 2, 4, 8], np.float32))
    assert amplitude[0] == 0
    assert (np.diff(amplitude[1:]) > 0).all()
    np.testing.assert_array_equal(relative_amplitude(np.zeros(3, np.float32)), 0)


def test_amplitudes_are_in_spreads_and_bounded() -> None:
    logs = np.random.default_rng(0).normal(3, 0.2, 20_000)
    amplitude = relative_amplitude(np.exp(logs).astype(np.float32))
    np.testing.assert_allclose(amplitude, (logs - 3) / 0.2, atol=0.1)
    assert relative_amplitude(np.append(np.linspace(1, 1.1, 20), 1e9).astype(np.float32)).max() == 8


def test_clips_cover_the_run_without_its_remainder() -> None:
    cut = cubes(made_run(np.ones((4, 4, 4), bool), frames=11), TubeletSpec(patch_mm=16, frames=3))
    assert cut.clip_starts() == [0, 3, 6]
    assert cut.last_start() == 8
    signals = [clip.signal_WSV for clip in cut.clips()]
    np.testing.assert_array_equal(signals[1], cut.clip(3).signal_WSV)
    cut.clip(8)


@pytest.mark.parametrize("start", [-1, 9, 100])
def test_a_clip_beyond_the_run_is_refused(start: int) -> None:
    cut = cubes(made_run(np.ones((4, 4, 4), bool), frames=11), TubeletSpec(patch_mm=16, frames=3))
    with pytest.raises(ParameterError, match="range within 0 to 11"):
        cut.clip(start)


def test_a_run_shorter_than_a_clip_is_refused() -> None:
    with pytest.raises(ParameterError, match="at least one clip of 20 frames, got 6 frames"):
        cubes(made_run(np.ones((4, 4, 4), bool)))


@pytest.mark.parametrize("shape", [(2,), (1, 4), (2, 1, 9), (1, 2, 3, 4)])
def test_values_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    cut = cubes(made_run(np.ones((4, 4, 4), bool)), TubeletSpec(patch_mm=16, frames=3))
    with pytest.raises(ParameterError, match="values must be of shape"):
        untokenize(cut, np.zeros(shape))


@pytest.mark.parametrize(
    "wrong",
    [
        {"patch_mm": 0.0},
        {"patch_mm": float("nan")},
        {"frames": 0},
        {"frames": 20, "window": 3},
        {"frames": 20, "window": 0},
    ],
)
def test_cuts_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError):
        TubeletSpec(**wrong)  # type: ignore[arg-type]


# --- batches ----------------------------------------------------------------------------------------------

SPEC = TubeletSpec(patch_mm=8, frames=4, window=2)


@pytest.fixture
def cuts() -> list[CubeTokens]:
    """Three runs of 1, 4 and 2 cubes."""
    shapes = [(2, 2, 2), (4, 4, 2), (4, 2, 1)]
    return [cubes(made_run(np.ones(s, bool), seed=n), SPEC) for n, s in enumerate(shapes)]


def test_collate_pads_and_masks_as_a_loop_does(cuts: list[CubeTokens]) -> None:
    clips = [cut.clip(start) for cut, start in zip(cuts, (0, 2, 1), strict=True)]
    batch = collate(clips)
    assert (len(batch), batch.windows, batch.places, batch.padded, batch.numbered) == (3, 2, 4, True, False)
    assert batch.signal_BNV.shape == (3, 8, 2 * 8)
    for b, clip in enumerate(clips):
        for n in range(8):
            window, place = divmod(n, 4)
            real = place < len(clip.centres_S3)
            assert bool(batch.mask_BN[b, n]) == real
            signal = clip.signal_WSV[window, place] if real else np.zeros(16)
            centre = [*clip.centres_S3[place], clip.seconds_W[window]] if real else np.zeros(4)
            np.testing.assert_array_equal(batch.signal_BNV[b, n], signal)
            np.testing.assert_array_equal(batch.positions_BN4[b, n], centre)
            amplitude = clip.amplitude_SP[place] if real else np.zeros(8)
            np.testing.assert_array_equal(batch.amplitude_BSP[b, place], amplitude)


def test_a_batch_of_equal_runs_has_no_padding(cuts: list[CubeTokens]) -> None:
    batch = collate([*cuts[1].clips(), cuts[1].clip(1)])
    assert not batch.padded
    assert batch.mask_BN.all()


def test_chosen_places_keep_all_of_their_windows(cuts: list[CubeTokens]) -> None:
    batch = collate([cut.clip(0) for cut in cuts])
    places = torch.tensor([[0, 3], [2, 1], [1, 0]])
    chosen = batch.at_places(places)
    assert (chosen.windows, chosen.places) == (2, 2)
    for b in range(3):
        for w in range(2):
            for k in range(2):
                n, m = w * 4 + int(places[b, k]), w * 2 + k
                assert torch.equal(chosen.signal_BNV[b, m], batch.signal_BNV[b, n])
                assert torch.equal(chosen.positions_BN4[b, m], batch.positions_BN4[b, n])
                assert chosen.mask_BN[b, m] == batch.mask_BN[b, n]
                assert torch.equal(chosen.amplitude_BSP[b, k], batch.amplitude_BSP[b, places[b, k]])
    assert batch.tokens_of(places)[1].tolist() == [2, 1, 6, 5]


def test_rows_and_devices(cuts: list[CubeTokens]) -> None:
    batch = collate([cut.clip(0) for cut in cuts])
    part = batch.rows(1, 3).to("cpu")
    assert len(part) == 2
    assert torch.equal(part.signal_BNV, batch.signal_BNV[1:])
    assert torch.equal(part.amplitude_BSP, batch.amplitude_BSP[1:])
    assert torch.equal(part.positions_BN4, batch.positions_BN4[1:])
    assert torch.equal(part.mask_BN, batch.mask_BN[1:])


def test_read_only_clips_are_taken_without_a_warning(cuts: list[CubeTokens]) -> None:
    """As joblib hands them to another process."""
    clip = cuts[0].clip(0)
    arrays = {name: getattr(clip, name) for name in ("signal_WSV", "amplitude_SP", "centres_S3", "seconds_W")}
    for array in arrays.values():
        array.setflags(write=False)
    batch = collate([Clip(**arrays)])
    batch.signal_BNV.mul_(2)


def test_clips_that_do_not_go_together_are_refused(cuts: list[CubeTokens]) -> None:
    with pytest.raises(ParameterError, match="at least one"):
        collate([])
    other = cubes(made_run(np.ones((4, 4, 4), bool)), TubeletSpec(patch_mm=8, frames=4))
    with pytest.raises(ParameterError, match="cut alike"):
        collate([cuts[0].clip(0), other.clip(0)])


def test_a_cut_run_can_go_to_another_process(cuts: list[CubeTokens]) -> None:
    again = pickle.loads(pickle.dumps(cuts[1]))
    np.testing.assert_array_equal(again.clip(1).signal_WSV, cuts[1].clip(1).signal_WSV)
