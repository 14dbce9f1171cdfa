"""An aligned model in a folder; it lies in the folder that `neuro align` writes, and can be begun with.

RUN/run.json           what it was made by: text model, words, cut, people; written last
RUN/encoder/           the encoder (see `neuro.model.encoder_folder`)
RUN/head.safetensors   the head, and the scale of the cosines
Nothing in it is executed when it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import BadFileError
from neuro.align.head import TextHead
from neuro.align.objective import BrainText
from neuro.align.sentences import DiagnosisWords, SentenceConfig
from neuro.model.encoder_folder import INNER, load_encoder, save_encoder
from neuro.tokens import TokenSpec
from vision.backbones.registry import resolve_device

FORMAT = 1
RUN, HEAD = "run.json", "head.safetensors"
ENCODER_PART = "encoder."  # state of the encoder, which is saved in a folder of its own


@dataclass(frozen=True, kw_only=True, eq=False)
class AlignedModel:
    """A model that puts brains among the sentences of a text tower.

    Attributes:
        model: in evaluation mode.
        tokens: how runs must be cut.
        text: the model whose text half it is aligned with.
        text_fingerprint: of that model.
        sentences: which facts it was told, in which words.
        facts: the whole of run.json.
    """

    model: BrainText
    tokens: TokenSpec
    text: str
    text_fingerprint: str
    sentences: SentenceConfig
    facts: dict[str, Any]


def save_aligned(model: BrainText, tokens: TokenSpec, folder: Path, facts: Mapping[str, Any]) -> None:
    """Write a model into a folder that is being made; `run.json` comes last.

    Args:
        model: as it is now.
        tokens: how the runs are cut that it takes.
        folder: where to.
        facts: `text`, `text_fingerprint` and `sentences` (as `asdict` gives them), and whatever else.
    """
    from safetensors.torch import save_file

    save_encoder(model.encoder, tokens, folder / INNER)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith(ENCODER_PART)}
    save_file({k: v.detach().cpu().clone().contiguous() for k, v in state.items()}, folder / HEAD)
    told = {"format": FORMAT, "kind": "alignment", **facts}
    (folder / RUN).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def load_aligned(folder: str | Path, device: str = "auto") -> AlignedModel:
    """Read what `save_aligned` wrote.

    Raises:
        BadFileError: the folder holds no aligned model, or a file of it is damaged.
        ParameterError: there is no such device.
    """
    from safetensors import SafetensorError

    resolve_device(device)  # a wrong device is not the folder's fault
    try:
        return _load(Path(folder), device)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        words = error.got if isinstance(error, BadFileError) else str(error).partition("\n")[0]
        raise BadFileError(
            "aligned model",
            must_be="a folder that `neuro align` wrote",
            got=f"{type(error).__name__}: {words}",
            do="name another, or align again",
            path=folder,
        ) from error


def origin_of(models: Sequence[BrainText]) -> str:
    """A plain word that is equal for models of equal weights, whatever device they lie on."""
    digest = hashlib.sha256()
    for model in models:
        for name, value in sorted(model.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return f"neuro-align-{digest.hexdigest()[:16]}"


def _load(folder: Path, device: str) -> AlignedModel:
    from safetensors.torch import load_file

    facts = json.loads((folder / RUN).read_text(encoding="utf-8"))
    if facts.get("kind") != "alignment" or facts["format"] != FORMAT:
        raise ValueError("no alignment, or one of another version of Chiasm")
    encoder, tokens = load_encoder(folder / INNER, device=device)
    state = load_file(folder / HEAD)
    width, rank = state["head.out.weight"].shape
    model = BrainText(encoder, TextHead(encoder, np.zeros((1, width), np.float32), rank=rank), scale=1.0)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or any(not name.startswith(ENCODER_PART) for name in missing):
        raise ValueError(f"other weights than a head has ({', '.join([*unexpected, *missing][:3])})")
    return AlignedModel(
        model=model.to(encoder.backbone.device).eval(),
        tokens=tokens,
        text=str(facts["text"]),
        text_fingerprint=str(facts["text_fingerprint"]),
        sentences=_sentences(facts["sentences"]),
        facts=facts,
    )


def _sentences(given: Mapping[str, Any]) -> SentenceConfig:
    """What `asdict` gave, after JSON made lists of its tuples."""
    words = {name: tuple(value) for name, value in given["words"].items()}
    return SentenceConfig(told=tuple(given["told"]), words=DiagnosisWords(**words))
