"""The plug-in for Brainmarks, under a stand-in for Brainmarks' registry: it is not installed here.

Letters: B runs, T frames, D dimensions of a space, S places.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import default_collate

from data.errors import BadFileError, HubUnreachableError, ParameterError
from data.exchange.arrow_layout import DIMENSIONS, MNI_AFFINE, MNI_SHAPE
from neuro.classifier import ParkinsonClassifier
from neuro.model import ModelConfig
from neuro.tokens import collate
from neuro.training.config import TrainingConfig

PLUGIN = Path(__file__).parents[2] / "benchmarks" / "brainmarks_plugin"
TINY = "scratch:vit_tiny_patch16_224/embed_dim=16,depth=1,num_heads=2"
REGISTERED = "scratch:vit_tiny_patch16_224/embed_dim=16,depth=1,num_heads=2,reg_tokens=3"
SPACE = "schaefer400"


class Embeddings(NamedTuple):
    """As brainmarks.models.base has it."""

    cls_embeds: torch.Tensor | None
    reg_embeds: torch.Tensor | None
    patch_embeds: torch.Tensor | None


def _module(name: str, **attributes: Any) -> ModuleType:
    module = ModuleType(name)
    for key, value in attributes.items():
        setattr(module, key, value)
    return module


@pytest.fixture(scope="module")
def models() -> Iterator[dict[str, Callable[..., Any]]]:
    """What the plug-in registers, by name; found as Brainmarks finds it, through the namespace's path."""
    registered: dict[str, Callable[..., Any]] = {}

    def register_model(function: Callable[..., Any]) -> Callable[..., Any]:
        registered[function.__name__] = function
        return function

    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(PLUGIN))
    folder = PLUGIN / "brainmarks"
    for module in (
        _module("brainmarks", __path__=[str(folder)]),
        _module("brainmarks.models", __path__=[str(folder / "models")]),
        _module("brainmarks.models.base", Embeddings=Embeddings),
        _module("brainmarks.models.registry", register_model=register_model),
    ):
        patch.setitem(sys.modules, module.__name__, module)
    patch.delitem(sys.modules, "brainmarks.models.chiasm", raising=False)
    importlib.import_module("brainmarks.models.chiasm")
    yield registered
    patch.undo()
    for name in [name for name in sys.modules if name.split(".")[0] in ("chiasm_plugin", "brainmarks")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def mni_mask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ball on the template's grid with as many voxels as `mni` has."""
    import nibabel as nib

    x, y, z = (axis - (size - 1) / 2 for axis, size in zip(np.ogrid[:91, :109, :91], MNI_SHAPE, strict=True))
    nearest = np.argsort(x**2 + y**2 + z**2, axis=None, kind="stable")[: DIMENSIONS["mni"]]
    mask_XYZ = np.zeros(MNI_SHAPE, dtype=np.uint8)
    mask_XYZ.flat[nearest] = 1
    path = tmp_path_factory.mktemp("mni") / "mask.nii.gz"
    nib.save(nib.Nifti1Image(mask_XYZ, MNI_AFFINE), path)
    return path


def sample(frames: int, tr: float = 2.0, *, space: str = SPACE, seed: int = 0, **more: Any) -> dict[str, Any]:
    """A run as Brainmarks' data sets give it: float16 z-scores as a tensor, `tr` as a tensor."""
    rng = np.random.default_rng(seed)
    raw_TD = rng.standard_normal((frames, DIMENSIONS[space])).astype(np.float32)
    z_TD = (raw_TD - raw_TD.mean(0)) / raw_TD.std(0)
    std_1D = rng.uniform(1, 3, (1, DIMENSIONS[space])).astype(np.float32)
    return {
        "bold": torch.from_numpy(z_TD.astype(np.float16)),
        "mean": torch.full((1, DIMENSIONS[space]), 100.0),
        "std": torch.from_numpy(std_1D),
        "tr": torch.tensor(tr),
        "sub": "sub-1",
        "n_frames": torch.tensor(frames),
        **more,
    }


def embedded(pair: tuple[Any, Any], samples: list[dict[str, Any]]) -> Embeddings:
    transform, model = pair
    with torch.inference_mode():
        found: Embeddings = model(default_collate([transform(one) for one in samples]))
    return found


def test_the_plugin_is_a_namespace() -> None:
    """An `__init__.py` would hide Brainmarks itself."""
    assert not list((PLUGIN / "brainmarks").rglob("__init__.py"))


def test_models_of_each_space_are_registered(models: dict[str, Callable[..., Any]]) -> None:
    assert set(models) == {"chiasm_schaefer400", "chiasm_schaefer400_tians3", "chiasm_mni"}


@pytest.mark.parametrize("space", ["schaefer400", "schaefer400_tians3"])
def test_parcels_of_any_length_and_tr_in_one_batch(models: dict[str, Callable[..., Any]], space: str) -> None:
    pair = models[f"chiasm_{space}"](backbone=TINY)
    samples = [
        sample(frames, tr, space=space) for frames, tr in ((16, 1.0), (160, 1.0), (60, 2.5), (900, 0.72))
    ]
    found = embedded(pair, samples)
    assert pair[1].__space__ == space
    assert found.cls_embeds is not None
    assert found.cls_embeds.shape == (4, 1, 16)
    assert found.reg_embeds is None
    assert found.patch_embeds is not None
    assert found.patch_embeds.shape == (4, DIMENSIONS[space], 16)
    assert all(torch.isfinite(values).all() for values in found if values is not None)


def test_the_dummy_of_brainmarks_own_test(models: dict[str, Callable[..., Any]]) -> None:
    """Its standard deviations are negative half the time, and `tr` is a plain number."""
    bold = torch.randn(16, 400, generator=torch.Generator().manual_seed(0))
    dummy = {"tr": 1.0, "bold": bold, "mean": torch.zeros(1, 400), "std": -torch.ones(1, 400)}
    found = embedded(models["chiasm_schaefer400"](backbone=TINY), [dummy, dummy])
    assert found.patch_embeds is not None
    assert torch.isfinite(found.patch_embeds).all()


def test_the_target_is_carried_through_and_nothing_else_of_the_sample(
    models: dict[str, Callable[..., Any]],
) -> None:
    transform, _ = models["chiasm_schaefer400"](backbone=TINY)
    found = transform(sample(40, target=np.int64(1)))
    assert found["target"] == 1
    assert set(found) == {"signal", "there", "amplitude", "positions", "target"}
    assert "target" not in transform(sample(40))


def test_a_run_is_embedded_the_same_alone_and_among_others(models: dict[str, Callable[..., Any]]) -> None:
    pair = models["chiasm_schaefer400"](backbone=TINY)
    runs = [sample(50, seed=1), sample(200, seed=2), sample(20, seed=3)]
    together = embedded(pair, runs)
    for number, run in enumerate(runs):
        for values, alone in zip(together, embedded(pair, [run]), strict=True):
            if values is not None:
                torch.testing.assert_close(values[number : number + 1], alone, rtol=1e-4, atol=1e-5)


def test_the_embedding_of_a_run_is_the_mean_over_its_clips(models: dict[str, Callable[..., Any]]) -> None:
    pair = models["chiasm_schaefer400"](backbone=TINY)
    run = sample(40, seed=4)
    halves = [{**run, "bold": run["bold"][part]} for part in (slice(0, 20), slice(20, 40))]
    whole, parts = embedded(pair, [run]), embedded(pair, halves)
    for name in ("cls_embeds", "patch_embeds"):
        torch.testing.assert_close(
            getattr(whole, name)[0], getattr(parts, name).mean(0), rtol=1e-4, atol=1e-5
        )


def test_amplitude_speaks_though_the_series_are_z_scores(models: dict[str, Callable[..., Any]]) -> None:
    pair = models["chiasm_schaefer400"](backbone=TINY)
    run = sample(40)
    weaker = {**run, "std": run["std"].clone()}
    weaker["std"][0, 7] /= 10
    louder = {**run, "std": 50 * run["std"]}
    before, after, gained = (embedded(pair, [one]).patch_embeds for one in (run, weaker, louder))
    assert before is not None
    assert after is not None
    change_S = (after - before)[0].norm(dim=-1)
    assert int(change_S.argmax()) == 7
    torch.testing.assert_close(gained, before, rtol=1e-4, atol=1e-5)  # a scanner's gain says nothing


def test_places_side_by_side_and_registers(models: dict[str, Callable[..., Any]]) -> None:
    pair = models["chiasm_schaefer400"](backbone=REGISTERED, summary="places")
    found = embedded(pair, [sample(40)])
    assert found.reg_embeds is not None
    assert found.reg_embeds.shape == (1, 3, 16)
    assert found.cls_embeds is not None
    assert found.patch_embeds is not None
    torch.testing.assert_close(found.cls_embeds[0, 0].reshape(400, 16), found.patch_embeds[0])


def test_profiles_tell_couplings_that_amplitude_and_phase_do_not(
    models: dict[str, Callable[..., Any]],
) -> None:
    transform, _ = models["chiasm_schaefer400"](backbone=TINY, profile="correlation", frames=60)
    run = sample(60)
    found = transform(run)
    z_TD = run["bold"].float().numpy()
    expected = np.arctanh(np.corrcoef(z_TD[:, 3], z_TD[:, 8])[0, 1])
    assert found["signal"].shape == (12, 400, 400)
    assert float(found["signal"][0, 3, 8]) == pytest.approx(expected, abs=1e-3)


def test_the_encoder_is_frozen_and_its_seed_counts(models: dict[str, Callable[..., Any]]) -> None:
    states = [models["chiasm_schaefer400"](backbone=TINY, seed=seed)[1].state_dict() for seed in (0, 0, 1)]
    first, same, other = (torch.cat([v.flatten() for v in state.values()]) for state in states)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    model = models["chiasm_schaefer400"](backbone=TINY)[1]
    assert not model.runs.encoder.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_autocast_gives_float32(models: dict[str, Callable[..., Any]]) -> None:
    """As `main_logistic` calls it, which turns what it gets into numpy."""
    transform, model = models["chiasm_schaefer400"](backbone=TINY)
    batch = default_collate([transform(sample(40))])
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(batch)
    assert found.patch_embeds.dtype == found.cls_embeds.dtype == torch.float32
    torch.testing.assert_close(found.patch_embeds, model(batch).patch_embeds, rtol=0.05, atol=0.05)


def test_cubes_stand_where_their_voxels_are(
    models: dict[str, Callable[..., Any]], mni_mask: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blob that fluctuates more changes the amplitude of the cubes around it: order and mm are right."""
    import nibabel as nib
    from nibabel.affines import apply_affine

    monkeypatch.setenv("CHIASM_MNI_MASK", str(mni_mask))
    transform, model = models["chiasm_mni"](backbone=TINY, frames=4, clips=1)
    mask_XYZ = np.asarray(nib.load(mni_mask).dataobj) > 0
    blob_XYZ = np.zeros(MNI_SHAPE, dtype=np.float32)
    blob_XYZ[50:54, 40:44, 60:64] = 1
    blob_D = blob_XYZ.transpose(2, 1, 0)[mask_XYZ.transpose(2, 1, 0)]  # x fastest
    run = sample(4, space="mni")
    run["std"] = torch.from_numpy(1 + 0.1 * (np.arange(len(blob_D)) % 5) + 20 * blob_D).float()[None]
    found = transform({**run, "target": 0})
    loudest = int(found["amplitude"].float().sum(dim=1).argmax())
    middle_mm = apply_affine(MNI_AFFINE, (51.5, 41.5, 61.5))
    assert np.abs(found["positions"][loudest, :3].numpy() - middle_mm).max() <= 16
    assert float(found["positions"][0, 3]) == pytest.approx(4.0)
    with torch.inference_mode():
        embeddings = model(default_collate([found]))
    assert model.__space__ == "mni"
    assert embeddings.patch_embeds.shape == (1, len(found["amplitude"]), 16)


def test_no_mask_and_no_network_is_told(
    models: dict[str, Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.delenv("CHIASM_MNI_MASK", raising=False)
    monkeypatch.setitem(sys.modules, "templateflow", _module("templateflow", api=_module("api", get=refuse)))
    with pytest.raises(HubUnreachableError, match="CHIASM_MNI_MASK"):
        models["chiasm_mni"](backbone=TINY)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bold": torch.zeros(40, 399)}, "bold"),
        ({"bold": torch.zeros(1, 400)}, "bold"),
        ({"bold": torch.full((40, 400), torch.nan)}, "finite"),
        ({"std": torch.ones(400)}, "std"),
        ({"mean": torch.ones(1, 3)}, "mean"),
        ({"tr": 0.0}, "tr"),
        ({"tr": float("nan")}, "tr"),
    ],
)
def test_samples_of_another_layout_are_refused(
    models: dict[str, Callable[..., Any]], change: dict[str, Any], said: str
) -> None:
    transform, _ = models["chiasm_schaefer400"](backbone=TINY)
    with pytest.raises(ParameterError, match=said):
        transform({**sample(40), **change})


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"summary": "all"}, "summary"),
        ({"tr": 0.0}, "tr"),
        ({"clips": 0}, "clips"),
        ({"weights": "somewhere", "frames": 10}, "weights"),
    ],
)
def test_options_that_cannot_work_are_refused(
    models: dict[str, Callable[..., Any]], kwargs: dict[str, Any], said: str
) -> None:
    with pytest.raises(ParameterError, match=said):
        models["chiasm_schaefer400"](**kwargs)


def test_weights_of_a_trained_classifier(models: dict[str, Callable[..., Any]], tmp_path: Path) -> None:
    """Its encoder, and the way its runs were cut: correlations of all regions over clips of 24 frames."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((6, 24, 400)), np.array([0, 1, 0, 1, 0, 1])
    model, training = ModelConfig(backbone=TINY), TrainingConfig(epochs=1)
    fitted = ParkinsonClassifier(model=model, training=training, device="cpu").fit(X, y)
    fitted.save(tmp_path / "trained")
    pair = models["chiasm_schaefer400"](weights=str(tmp_path / "trained"), tr=1.0)  # as arrays are read
    run = sample(24, tr=1.0)
    found = embedded(pair, [run])
    z_TD = run["bold"].float().numpy()
    loud_TD = z_TD / z_TD.std(0) * run["std"].numpy()  # a plain array of series has its amplitude in itself
    with torch.inference_mode():
        expected = fitted.model_.encoder(collate(fitted.tokens(loud_TD[None])[0].clips()))
    torch.testing.assert_close(found.patch_embeds, expected.tokens_BND, rtol=1e-2, atol=1e-2)
    with pytest.raises(ParameterError, match="weights"):
        models["chiasm_schaefer400_tians3"](weights=str(tmp_path / "trained"))


def test_a_folder_without_weights_is_refused(models: dict[str, Callable[..., Any]], tmp_path: Path) -> None:
    with pytest.raises(BadFileError):
        models["chiasm_schaefer400"](weights=str(tmp_path))


def _wave(frames: int, tr: float, period: float) -> NDArray[np.float32]:
    """A sine at the middle of each frame."""
    seconds_T = (np.arange(frames) + 0.5) * tr
    wave_T: NDArray[np.float32] = np.sin(2 * np.pi * seconds_T / period).astype(np.float32)
    return wave_T


@pytest.mark.parametrize(("old", "new"), [(0.8, 2.0), (3.0, 2.0), (1.0, 2.0)])
def test_resampling_keeps_slow_waves(models: dict[str, Callable[..., Any]], old: float, new: float) -> None:
    series = importlib.import_module("chiasm_plugin.series")
    wave_T = _wave(round(240 / old), old, period=40.0)
    z_T1 = ((wave_T - wave_T.mean()) / wave_T.std())[:, None]
    before = series.Series(z_TD=z_T1, mean_D=np.zeros(1), std_D=np.full(1, 5, np.float32), tr=old)
    after = series.at_tr(before, new)
    expected_T = _wave(120, new, period=40.0)
    assert after.z_TD.shape == (120, 1)
    assert after.tr == new
    assert np.corrcoef(after.z_TD[2:-2, 0], expected_T[2:-2])[0, 1] > 0.99
    assert after.z_TD.std() == pytest.approx(1, abs=1e-3)
    assert 4.5 < float(after.std_D[0]) <= 5.01


@pytest.mark.parametrize(("frames", "count"), [(300, 120), (50, 90), (16, 8)])
def test_resampling_against_pytorchs(
    models: dict[str, Callable[..., Any]], rng: np.random.Generator, frames: int, count: int
) -> None:
    triangles = importlib.import_module("chiasm_plugin.series")._triangles(frames, count)
    values_TD = rng.standard_normal((frames, 3)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values_TD)[None, None], size=(count, 3), mode="bilinear", antialias=True
    )
    np.testing.assert_allclose(triangles @ values_TD, expected[0, 0].numpy(), atol=1e-4)  # both in float32


def test_resampling_lets_nothing_fast_fold_back(models: dict[str, Callable[..., Any]]) -> None:
    """A wave of 2.2 s, taken every 2 s, would look like one of 22 s."""
    series = importlib.import_module("chiasm_plugin.series")
    wave_T1 = _wave(500, 0.5, period=2.2)[:, None]
    before = series.Series(
        z_TD=wave_T1 / wave_T1.std(), mean_D=np.zeros(1), std_D=np.ones(1, np.float32), tr=0.5
    )
    assert float(series.at_tr(before, 2.0).std_D[0]) < 0.3
    assert float(np.std(before.z_TD[::4])) > 0.9


def test_clips_cover_a_run(models: dict[str, Callable[..., Any]]) -> None:
    starts = importlib.import_module("chiasm_plugin.series").clip_starts
    assert starts(65, 20, 12) == [0, 20, 40]
    assert starts(20, 20, 12) == [0]
    assert starts(1000, 20, 3) == [0, 490, 980]
