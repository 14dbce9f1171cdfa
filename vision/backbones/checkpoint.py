"""Models in a folder: `save_backbone` writes one, `local:PATH` reads it, equal to the bit.

A folder holds `backbone.json` (kind, architecture and preprocessing as data, digests), `model.safetensors`,
and `tokenizer/` where the text half needs one from Hugging Face. Nothing in it is executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.digest import sha256
from data.errors import BadFileError, ParameterError
from data.writing import whole_folder
from vision.backbones.backbone import Backbone
from vision.backbones.preprocess import Preprocess
from vision.backbones.weights import check, unfit

FORMAT = "chiasm backbone"
VERSION = 1
KINDS = ("timm", "open_clip")
DESCRIPTION, WEIGHTS, TOKENIZER = "backbone.json", "model.safetensors", "tokenizer"


def save_backbone(backbone: Backbone, path: str | Path) -> Path:
    """Write a timm or open_clip model (a trained one too) into a new folder; `local:PATH` loads it.

    Args:
        backbone: what to save, as it is now.
        path: folder that does not exist or is empty; it appears whole or not at all.

    Raises:
        ParameterError: the folder holds something, or the model is built into the program.
    """
    from safetensors.torch import save_file

    folder = Path(path)
    if backbone.origin.kind not in KINDS:
        raise ParameterError("model to save", must_be=f"of kind {' or '.join(KINDS)}", got=backbone.name)
    with whole_folder(folder) as draft:
        state = {key: tensor.detach().cpu().contiguous() for key, tensor in backbone.state_dict().items()}
        save_file(state, draft / WEIGHTS)
        tokenizer: Any = getattr(backbone, "tokenizer", None)
        if hasattr(tokenizer, "save_pretrained"):
            tokenizer.save_pretrained(draft / TOKENIZER)
        description = {
            "format": FORMAT,
            "version": VERSION,
            "name": backbone.name,
            "kind": backbone.origin.kind,
            "architecture": backbone.origin.architecture,
            "preprocess": backbone.preprocess.to_dict(),
            "weights_digest": backbone.weights_digest(),
            "file_sha256": sha256(draft / WEIGHTS),
        }
        (draft / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return folder


def load_local(rest: str) -> Backbone:
    """Load what follows `local:`: a folder, or `FILE?arch=NAME` with timm:ARCH, clip:ARCH or clip:ARCH/TAG.

    A bare file takes its architecture from the name that is given; with a tag it also takes that tag's
    activation and preprocessing.

    Raises:
        BadFileError: nothing there, not such a folder, damaged, or weights of another architecture.
    """
    place, _, query = rest.partition("?")
    path = Path(place).expanduser()
    if query:
        return _load_file(path, query, name=f"local:{rest}")
    if path.is_file():
        raise ParameterError(
            "model name",
            must_be="local:FILE?arch=NAME for a bare file of weights",
            got=repr(f"local:{rest}"),
            do="add ?arch=timm:ARCH or ?arch=clip:ARCH/TAG",
        )
    return _load_folder(path, name=f"local:{rest}")


def _load_folder(folder: Path, *, name: str) -> Backbone:
    from safetensors.torch import load_file

    description = _read_description(folder / DESCRIPTION)
    file = check(folder / WEIGHTS, description["file_sha256"])
    backbone = _build(description, folder, name)
    try:
        backbone.load_state_dict(load_file(file.path), strict=True)
    except Exception as error:
        raise unfit(file.path, f"weights of the architecture in {DESCRIPTION}", error) from error
    backbone.mark_loaded()
    return backbone


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadFileError(
            "model folder",
            must_be=f"one that save_backbone wrote, with {DESCRIPTION} in it",
            got="no such file",
            path=path,
        ) from error
    except (OSError, ValueError) as error:
        raise BadFileError("model description", must_be="readable JSON", got=str(error), path=path) from error
    fields: dict[str, Any] = description if isinstance(description, dict) else {}
    stated = (fields.get("format"), fields.get("version"), fields.get("kind"))
    if stated not in [(FORMAT, VERSION, kind) for kind in KINDS]:
        raise BadFileError(
            "model description", must_be=f"{FORMAT}, version {VERSION}, of {KINDS}", got=stated, path=path
        )
    missing = {"architecture", "preprocess", "weights_digest", "file_sha256"} - set(fields)
    if missing:
        raise BadFileError("model description", must_be="complete", got=f"no {sorted(missing)}", path=path)
    return fields


def _build(description: Mapping[str, Any], folder: Path, name: str) -> Backbone:
    preprocess = Preprocess.from_dict(description["preprocess"])
    if description["kind"] == "timm":
        from vision.backbones.timm_vit import build_timm

        return build_timm(
            description["architecture"],
            name=name,
            preprocess=preprocess,
            weights_sha256=description["weights_digest"],
        )
    from vision.backbones.open_clip_build import build_open_clip

    tokenizer = folder / TOKENIZER
    return build_open_clip(
        description["architecture"],
        name=name,
        preprocess=preprocess,
        weights=None,
        weights_sha256=description["weights_digest"],
        tokenizer_folder=tokenizer if tokenizer.is_dir() else None,
    )


def _load_file(path: Path, query: str, *, name: str) -> Backbone:
    key, _, arch = query.partition("=")
    kind, _, model = arch.partition(":")
    if key != "arch" or kind not in ("timm", "clip") or not model:
        raise ParameterError(
            "model name",
            must_be="local:FILE?arch=timm:ARCH, ?arch=clip:ARCH or ?arch=clip:ARCH/TAG",
            got=repr(name),
        )
    file = check(path, None)
    if kind == "timm":
        from vision.backbones.timm_vit import build_timm

        return build_timm(
            {"arch": model, "args": {}}, name=name, weights=file.path, weights_sha256=file.sha256
        )
    from vision.backbones.open_clip_build import build_open_clip, describe_clip

    architecture, preprocess = describe_clip(model)
    return build_open_clip(
        architecture, name=name, preprocess=preprocess, weights=file.path, weights_sha256=file.sha256
    )
