"""From a backbone to the files that `vision.optimize.text_tower` reads: the text half, without torch.

Shape suffixes: V vocabulary, L tokens, D width, E joint space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vision.optimize.sealed_folder import sealed_folder
from vision.optimize.text_layers import Array
from vision.optimize.text_tower import (
    TOKENIZER,
    WEIGHTS,
    TowerSpec,
    load_text_tower,
    made_for,
    tower_folder,
)

if TYPE_CHECKING:
    import torch

    from vision.backbones import Backbone


class _NotExportableError(Exception):
    """The tower has a part that numpy's has not."""


def export_text_tower(backbone: Backbone) -> Path | None:
    """Write the text half of a backbone into the cache folder, whole or not at all.

    A tower that is there already and whole is left as it is.

    Returns:
        The folder; None where the kind cannot be exported (pictures only, a Hugging Face text model, custom
        blocks, weights in half precision) or the cache folder cannot be written.
    """
    import torch

    fingerprint = backbone.fingerprint
    folder = tower_folder(fingerprint)
    if load_text_tower(fingerprint) is not None:
        return folder
    if not backbone.has_text or backbone.dtype != torch.float32:
        return None
    try:
        spec, tokenizer, weights = _described(backbone)
    except _NotExportableError:
        return None
    try:
        _write(folder, fingerprint, spec, tokenizer, weights)
    except OSError:
        # Another process may have been faster; and a read-only home is no reason to fail.
        return folder if load_text_tower(fingerprint) is not None else None
    return folder


def _write(
    folder: Path, fingerprint: str, spec: TowerSpec, tokenizer: str, weights: Mapping[str, Array]
) -> None:
    from safetensors.numpy import save_file

    with sealed_folder(folder, {"made_for": made_for(fingerprint), "spec": asdict(spec)}) as draft:
        save_file({name: np.ascontiguousarray(w) for name, w in weights.items()}, draft / WEIGHTS)
        (draft / TOKENIZER).write_text(tokenizer, encoding="utf-8")


def _described(backbone: Backbone) -> tuple[TowerSpec, str, dict[str, Array]]:
    """What is to be written: spec, tokenizer and weights."""
    kind = backbone.origin.kind
    if kind == "open_clip":
        return _open_clip(backbone)
    if kind == "embedded":
        return _minilm(backbone)
    raise _NotExportableError


# --- open_clip ----------------------------------------------------------------------------------------------


def _open_clip(backbone: Any) -> tuple[TowerSpec, str, dict[str, Array]]:
    from open_clip.transformer import TextTransformer

    model = backbone.model
    tower = getattr(model, "text", model)  # CLIP itself holds the parts of its text tower
    if tower is not model and type(tower) is not TextTransformer:
        raise _NotExportableError
    blocks = list(tower.transformer.resblocks)
    class_token = getattr(tower, "cls_emb", None)
    pool = "class" if class_token is not None else getattr(tower, "pool_type", None) or tower.text_pool_type
    if pool not in ("argmax", "eos", "first", "last", "class"):
        raise _NotExportableError
    eos_id = tower.text_eos_id if tower is model else tower.eos_id
    norms = [tower.ln_final, *(norm for block in blocks for norm in (block.ln_1, block.ln_2))]
    spec = TowerSpec(
        layers=len(blocks),
        heads=blocks[0].attn.num_heads,
        eps=_one({norm.eps for norm in norms}),
        activation=_one({_activation(block.mlp.gelu) for block in blocks}),
        causal=tower.attn_mask is not None,
        masked="pad_id" if class_token is not None or getattr(tower, "use_pad_mask", False) else "none",
        pad_id=getattr(tower, "pad_id", 0),
        pool=pool,
        eos_id=eos_id,
        class_masked_first=not getattr(tower, "correct_cls_mask", True),
        context=backbone.tokenizer.context_length,
        **_clip_tokenizer_fields(backbone.tokenizer),
    )
    weights = {"words": _array(tower.token_embedding.weight), "positions": _array(tower.positional_embedding)}
    weights |= _affine("final_norm", tower.ln_final) | _projection(tower.text_projection)
    if class_token is not None:
        weights["class_token"] = _array(class_token)
    for place, block in enumerate(blocks):
        weights |= _open_clip_block(f"blocks.{place}", block)
    return spec, _tokenizer_text(backbone.tokenizer), weights


def _open_clip_block(name: str, block: Any) -> dict[str, Array]:
    from open_clip.transformer import LayerScale, ResidualAttentionBlock

    if type(block) is not ResidualAttentionBlock or block.attn.in_proj_weight is None:
        raise _NotExportableError
    weights = {
        f"{name}.qkv.weight": _array(block.attn.in_proj_weight),
        f"{name}.qkv.bias": _array(block.attn.in_proj_bias),
    }
    weights |= _affine(f"{name}.norm1", block.ln_1) | _affine(f"{name}.norm2", block.ln_2)
    weights |= _affine(f"{name}.up", block.mlp.c_fc)
    for part, layer, scale in (
        ("out", block.attn.out_proj, block.ls_1),
        ("down", block.mlp.c_proj, block.ls_2),
    ):
        scaled = _affine(f"{name}.{part}", layer)
        if isinstance(scale, LayerScale):
            gamma_D = _array(scale.gamma)
            scaled = {key: (gamma_D * value.T).T for key, value in scaled.items()}
        weights |= scaled
    return weights


def _activation(layer: Any) -> str:
    import torch
    from open_clip.transformer import QuickGELU

    if isinstance(layer, QuickGELU):
        return "quick_gelu"
    if type(layer) is torch.nn.GELU:
        return "gelu_tanh" if layer.approximate == "tanh" else "gelu"
    raise _NotExportableError


def _projection(projection: Any) -> dict[str, Array]:
    import torch

    if projection is None:
        return {}
    if isinstance(projection, torch.nn.Linear):
        return _affine("projection", projection)
    return {"projection.weight": _array(projection).T}


def _clip_tokenizer_fields(tokenizer: Any) -> dict[str, Any]:
    from open_clip import SimpleTokenizer
    from open_clip.tokenizer import HFTokenizer, get_clean_fn

    clean = [
        name for name in ("lower", "whitespace", "canonicalize") if get_clean_fn(name) is tokenizer.clean_fn
    ]
    if not clean:
        raise _NotExportableError
    fields = {"clean": clean[0]}
    if type(tokenizer) is SimpleTokenizer and not tokenizer.reduction_fn:
        if len(tokenizer.all_special_ids) == 2:
            return fields
    elif type(tokenizer) is HFTokenizer and not tokenizer.tokenizer_mode and tokenizer.tokenizer.is_fast:
        blank = tokenizer.tokenizer.sep_token_id if tokenizer.strip_sep_token else -1
        return fields | {"tokenizer": "hub", "blank_id": blank}
    raise _NotExportableError


def _tokenizer_text(tokenizer: Any) -> str:
    from open_clip import SimpleTokenizer

    if isinstance(tokenizer, SimpleTokenizer):
        return "\n".join(" ".join(pair) for pair in tokenizer.bpe_ranks)
    from tokenizers import Tokenizer

    fast = tokenizer.tokenizer
    copy: Any = Tokenizer.from_str(fast.backend_tokenizer.to_str())
    copy.enable_truncation(tokenizer.context_length, direction=fast.truncation_side)
    copy.enable_padding(
        direction=fast.padding_side,
        length=tokenizer.context_length,
        pad_id=fast.pad_token_id,
        pad_token=fast.pad_token,
    )
    text: str = copy.to_str()
    return text


# --- embedded:lite ------------------------------------------------------------------------------------------


def _minilm(backbone: Any) -> tuple[TowerSpec, str, dict[str, Array]]:
    from tokenizers import Tokenizer

    from vision.backbones import minilm

    sentences = backbone.sentences
    tokenizer: Any = Tokenizer.from_str(sentences.tokenizer.to_str())
    tokenizer.no_padding()
    blocks = list(sentences.blocks)
    spec = TowerSpec(
        layers=len(blocks),
        heads=minilm.HEADS,
        eps=_one({block.norm_mlp.eps for block in blocks} | {sentences.norm.eps}),
        activation="gelu",
        norm_first=False,
        causal=False,
        masked="padding",
        pool="mean",
        tokenizer="hub",
        clean="none",
        context=minilm.MAX_TOKENS,
        pads_to_context=False,
    )
    weights = {
        "words": _array(sentences.words.weight),
        # All tokens are of the first segment.
        "positions": _array(sentences.positions.weight + sentences.segments.weight[0]),
    }
    weights |= _affine("embedding_norm", sentences.norm)
    for place, block in enumerate(blocks):
        weights |= _minilm_block(f"blocks.{place}", block)
    return spec, tokenizer.to_str(), weights


def _minilm_block(name: str, block: Any) -> dict[str, Array]:
    three = (block.query, block.key, block.value)
    weights = {
        f"{name}.qkv.weight": np.concatenate([_array(layer.weight) for layer in three]),
        f"{name}.qkv.bias": np.concatenate([_array(layer.bias) for layer in three]),
    }
    weights |= _affine(f"{name}.out", block.mix) | _affine(f"{name}.norm1", block.norm_attention)
    weights |= _affine(f"{name}.up", block.widen) | _affine(f"{name}.down", block.narrow)
    return weights | _affine(f"{name}.norm2", block.norm_mlp)


# --- tensors ------------------------------------------------------------------------------------------------


def _affine(name: str, layer: Any) -> dict[str, Array]:
    """Weight, and bias if any, of a linear layer or a norm."""
    weights = {f"{name}.weight": _array(layer.weight)}
    return weights if layer.bias is None else weights | {f"{name}.bias": _array(layer.bias)}


def _array(tensor: torch.Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy()
    return array


def _one(values: set[Any]) -> Any:
    """The value that all parts have in common."""
    if len(values) != 1:
        raise _NotExportableError
    return values.pop()
