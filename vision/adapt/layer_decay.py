"""Learning rates that rise with depth: what sees first was learned best, and changes least.

Layer l of a row of L blocks learns at rate * decay^(L + 1 - l): the embeddings are layer 0, the blocks 1 to
L, and all that comes after learns at the full rate. Bao et al. 2021 (BEiT, arXiv 2106.08254), He et al. 2021
(MAE, arXiv 2111.06377).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from data.errors import ParameterError
from vision.backbones.backbone import Backbone
from vision.backbones.patch_embed import PatchEmbedNd

Path = tuple[str, ...]

# What comes before the blocks, by the names that timm, open_clip and Hugging Face give it.
EMBEDDINGS = {
    "patch_embed", "pos_embed", "cls_token", "reg_token", "dist_token", "mask_token", "norm_pre",
    "conv1", "class_embedding", "positional_embedding", "ln_pre", "token_embedding", "cls_emb",
    "embeddings",
}  # fmt: skip
HEAD_COUNTS = ("num_heads", "num_attention_heads")  # attention has one of these, in all three libraries
# Such as pos_embed, positional_embedding, relative_position_bias_table; cls_token; class_embedding.
UNDECAYED = re.compile(r"(^|_)pos(ition(s|al)?)?(_|$)|_token(_|$)|^(class_embedding|cls_emb)$")


def layer_groups(
    module: nn.Module, *, learning_rate: float, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Parameter groups for AdamW, of all parameters that learn, each in exactly one.

    The layers are those of the backbones inside `module`, or of `module` itself where it holds none; each row
    of blocks (a model's picture half, its text half) is counted by itself. A `PatchEmbedNd` outside a
    backbone, inflated from it, is layer 0 as well; all else outside learns at the full rate.

    Vectors (biases, gains, scales), position codes and class tokens have no weight decay.

    Args:
        module: a backbone, a part of one, or a model that holds one.
        learning_rate: of the last layer.
        weight_decay: of what decays.
        layer_decay: from one layer to the one before it, above 0 and at most 1; 1 gives all the same rate.

    Returns:
        Groups with `params`, `lr`, `weight_decay` and `scale`, which is lr / learning_rate: a schedule sets
        `group["lr"] = rate * group["scale"]`. The earliest layers come first.

    Raises:
        ParameterError: rates out of range, nothing that learns, or no blocks to count.
    """
    _check(learning_rate, weight_decay, layer_decay)
    layers = _Layers(module)
    if layer_decay < 1 and not layers.rows:
        raise ParameterError(
            "model",
            must_be="one with Transformer blocks, for a layer-wise learning rate",
            got=type(module).__name__,
            do="take a layer decay of 1",
        )
    found: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            path = tuple(name.split("."))
            steps = layers.steps_from_the_end(path) if layer_decay < 1 else 0
            found.setdefault((steps, _decays(path, parameter)), []).append(parameter)
    if not found:
        raise ParameterError("model to train", must_be="one with weights that learn", got="none")
    groups = []
    for (steps, decays), parameters in sorted(found.items(), key=lambda item: item[0], reverse=True):
        scale = layer_decay**steps
        groups.append(
            {
                "params": parameters,
                "lr": learning_rate * scale,
                "weight_decay": weight_decay if decays else 0.0,
                "scale": scale,
            }
        )
    return groups


@dataclass(frozen=True, kw_only=True)
class _Row:
    """Blocks one after another: where they stand, and what they are called there."""

    path: Path
    blocks: tuple[str, ...]

    def steps_from_the_end(self, path: Path) -> int | None:
        """Of a parameter of a block, 1 in the last one; None outside."""
        if path[: len(self.path)] != self.path:
            return None
        return len(self.blocks) - self.blocks.index(path[len(self.path)])


class _Layers:
    """The rows of blocks in a model, and what is embedded for them."""

    def __init__(self, module: nn.Module):
        parts = {_path(name): part for name, part in module.named_modules()}
        backbones = {path: part for path, part in parts.items() if isinstance(part, Backbone)}
        self.roots: dict[Path, nn.Module] = {**backbones} or {(): module}
        self.rows = [row for root, part in self.roots.items() for row in _rows(part, root)]
        self.patch_embeddings = [path for path, part in parts.items() if isinstance(part, PatchEmbedNd)]

    def steps_from_the_end(self, path: Path) -> int:
        """How many layers lie between a parameter and the full rate."""
        for row in self.rows:
            steps = row.steps_from_the_end(path)
            if steps is not None:
                return steps
        row_above = self._embedded_for(path)
        return len(row_above.blocks) + 1 if row_above is not None else 0

    def _embedded_for(self, path: Path) -> _Row | None:
        if any(path[: len(place)] == place for place in self.patch_embeddings):
            return self.rows[0]  # the picture half's: libraries register it before the text half
        root = next((root for root in self.roots if path[: len(root)] == root), None)
        if root is None:
            return None
        for number, part in enumerate(path):
            if number >= len(root) and part in EMBEDDINGS:
                beside = [row for row in self.rows if row.path[:number] == path[:number]]
                # A text half in pieces stands beside the picture half, whose blocks lie deeper.
                return min(beside, key=lambda row: len(row.path), default=None)
        return None


def _rows(module: nn.Module, root: Path) -> Iterator[_Row]:
    """Lists whose every member attends; a list inside such a member comes after it, and is never asked."""
    for name, part in module.named_modules():
        blocks = dict(part.named_children())
        is_list = isinstance(part, nn.ModuleList | nn.Sequential)
        if is_list and blocks and all(_attends(block) for block in blocks.values()):
            yield _Row(path=root + _path(name), blocks=tuple(blocks))


def _attends(block: nn.Module) -> bool:
    return any(isinstance(getattr(part, name, None), int) for part in block.modules() for name in HEAD_COUNTS)


def _decays(path: Path, parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and not any(UNDECAYED.search(part) for part in path)


def _path(name: str) -> Path:
    return tuple(name.split(".")) if name else ()


def _check(learning_rate: float, weight_decay: float, layer_decay: float) -> None:
    if not learning_rate > 0:
        raise ParameterError("learning_rate", must_be="positive", got=learning_rate)
    if not weight_decay >= 0:
        raise ParameterError("weight_decay", must_be="0 or more", got=weight_decay)
    if not 0 < layer_decay <= 1:
        raise ParameterError("layer_decay", must_be="above 0 and at most 1", got=layer_decay)
