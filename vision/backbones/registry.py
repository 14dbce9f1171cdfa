"""From a name to a model: a plain dictionary of prefixes, and one shared instance of each model."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

from data.errors import ParameterError, UnknownNameError, nearest
from vision.backbones.backbone import Backbone

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def _load_scratch(rest: str, seed: int) -> Backbone:
    from vision.backbones.timm_vit import build_timm

    arch, _, options = rest.partition("/")
    return build_timm({"arch": arch, "args": parse_options(options)}, name=f"scratch:{rest}", seed=seed)


def _load_timm(rest: str, seed: int) -> Backbone:
    from vision.backbones.timm_vit import load_timm

    return load_timm(rest)


def _load_clip(rest: str, seed: int) -> Backbone:
    from vision.backbones.open_clip_build import load_clip

    return load_clip(rest)


def _load_local(rest: str, seed: int) -> Backbone:
    from vision.backbones.checkpoint import load_local

    return load_local(rest)


def _load_embedded(rest: str, seed: int) -> Backbone:
    from vision.backbones.embedded_lite import load_embedded

    return load_embedded(rest)


# Prefix -> loader of what follows the colon; the import of each kind's library is left to its loader.
LOADERS: dict[str, Callable[[str, int], Backbone]] = {
    "embedded": _load_embedded,
    "clip": _load_clip,
    "timm": _load_timm,
    "local": _load_local,
    "scratch": _load_scratch,
}

_shared: dict[tuple[str, torch.device, torch.dtype], Backbone] = {}
_lock = threading.Lock()


def load_backbone(
    name: str,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    shared: bool = True,
    seed: int = 0,
) -> Backbone:
    """Load a model by its name, in evaluation mode.

    Args:
        name: `clip:ARCH/TAG` (any open_clip model and tag), `timm:MODEL` (any timm model; plain ViTs take
            tokens too), `local:PATH` (a folder that `save_backbone` wrote, or `local:FILE?arch=NAME`),
            `embedded:lite` (needs no hub), or `scratch:ARCH[/key=value,...]` (a timm model
            initialised at random, on purpose).
        device: "auto" takes cuda, then mps, then cpu.
        dtype: "auto" is float32; or "float16", "bfloat16".
        shared: hand out one instance per name, device and dtype. Ask for a private copy (False) to train it.
            A `scratch:` model is always a private one.
        seed: of the random initialisation of a `scratch:` model.

    Raises:
        UnknownNameError: no such model; the nearest known names are offered.
        HubUnreachableError: the weights are neither in the cache nor to be had. Never random weights instead.
        MissingDependencyError: an optional package is absent.
        BadFileError: a file of weights is damaged or not what it should be.
    """
    prefix, colon, rest = name.partition(":")
    if not colon or not rest or prefix not in LOADERS:
        raise UnknownNameError(
            "model name",
            must_be=f"KIND:MODEL with one of the kinds {', '.join(LOADERS)}",
            got=repr(name),
            do=f"{_nearest_names(name)} `vision models` lists what there is".strip(),
        )
    place, kind = resolve_device(device), resolve_dtype(dtype)
    if not shared or prefix == "scratch":
        return _load(prefix, rest, seed, place, kind)
    with _lock:
        key = (name, place, kind)
        if key not in _shared:
            _shared[key] = _load(prefix, rest, seed, place, kind)
        return _shared[key]


def _nearest_names(name: str) -> str:
    from vision.backbones.catalog import known_models

    return nearest(name, (model.name for model in known_models()))


def _load(prefix: str, rest: str, seed: int, device: torch.device, dtype: torch.dtype) -> Backbone:
    return LOADERS[prefix](rest, seed).to(device=device, dtype=dtype).eval()


def resolve_device(device: str | torch.device) -> torch.device:
    """The device that is meant; "auto" takes cuda, then mps, then cpu."""
    if device != "auto":
        try:
            return torch.device(device)
        except RuntimeError as error:
            raise ParameterError(
                "device", must_be='"auto", "cpu", "cuda", "cuda:N" or "mps"', got=repr(device)
            ) from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def resolve_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """The type of the weights that is meant; "auto" is float32, so that vectors agree across machines."""
    if dtype == "auto":
        return torch.float32
    kind = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if kind is None or kind not in DTYPES.values():
        raise ParameterError("dtype", must_be=f'"auto" or one of {tuple(DTYPES)}', got=repr(dtype))
    return kind


def parse_options(text: str) -> dict[str, int | float | bool | str]:
    """ "embed_dim=96,qk_norm=true" -> {"embed_dim": 96, "qk_norm": True}."""
    options: dict[str, int | float | bool | str] = {}
    for item in filter(None, text.split(",")):
        key, equals, value = item.partition("=")
        if not equals or not key.isidentifier() or not value:
            raise ParameterError("model option", must_be="of the form key=value", got=repr(item))
        options[key] = _parse_value(value)
    return options


def _parse_value(text: str) -> int | float | bool | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
