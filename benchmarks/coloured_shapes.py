"""A small CLIP that is trained here in half a minute, on coloured shapes and their captions.

There are no trained Transformers without a hub; this one says whether a map of a Transformer points at what a
text names. It learns the colours, and something of the shapes.

Shape legend: B batch, C channels, H W pixels, Q captions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from benchmarks.pointing_cases import Axis
from vision.backbones.open_clip_build import build_open_clip
from vision.backbones.open_clip_tower import OpenClipBackbone

Picture = npt.NDArray[np.uint8]
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 80, 220),
    "yellow": (230, 210, 50),
    "purple": (150, 60, 180),
    "white": (240, 240, 240),
}
SHAPES = ("circle", "square", "triangle", "cross")
THINGS = [(colour, shape) for colour in COLOURS for shape in SHAPES]
CAPTIONS = [f"a {colour} {shape}" for colour, shape in THINGS]
SIDE = 48
TOWERS: dict[str, dict[str, Any]] = {
    "class token": {},
    "average": {"pool_type": "avg"},
    "attention pooling": {"attentional_pool": True, "attn_pooler_heads": 4, "attn_pooler_queries": 4},
}


def two_things(rng: np.random.Generator, things: tuple[int, int], axis: Axis) -> Picture:
    """A picture (H, W, 3) of two things, one in each half."""
    picture_HWC = _ground(rng)
    for number, thing in enumerate(things):
        radius = rng.uniform(7, 10.5)
        along = rng.uniform(radius, SIDE / 2 - radius) + number * SIDE / 2
        across = rng.uniform(radius, SIDE - radius)
        _draw(picture_HWC, thing, (along, across) if axis == "left-right" else (across, along), radius)
    return picture_HWC


def scene(rng: np.random.Generator) -> tuple[Picture, list[int]]:
    """One thing or two, and which."""
    if rng.random() < 0.6:
        first, second = (int(thing) for thing in rng.choice(len(THINGS), 2, replace=False))
        axis: Axis = "left-right" if rng.random() < 0.5 else "top-bottom"
        return two_things(rng, (first, second), axis), [first, second]
    picture_HWC, thing, radius = _ground(rng), int(rng.integers(len(THINGS))), rng.uniform(7, 11)
    _draw(
        picture_HWC, thing, (rng.uniform(radius, SIDE - radius), rng.uniform(radius, SIDE - radius)), radius
    )
    return picture_HWC, [thing]


def unlike(rng: np.random.Generator) -> tuple[int, int]:
    """Two things of different colour and shape."""
    while True:
        first, second = (int(thing) for thing in rng.choice(len(THINGS), 2, replace=False))
        if all(one != other for one, other in zip(THINGS[first], THINGS[second], strict=True)):
            return first, second


def untrained(pooling: str, seed: int = 0) -> OpenClipBackbone:
    """A CLIP of two layers and 16 patches, as it is before training."""
    tower = {"image_size": SIDE, "patch_size": 12, "width": 64, "layers": 2, "head_width": 16}
    text = {"context_length": 8, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    config = {"embed_dim": 32, "vision_cfg": tower | TOWERS[pooling], "text_cfg": text}
    architecture = {"model_cfg": config, "quick_gelu": False}
    return build_open_clip(architecture, name="clip:shapes", preprocess={}, weights=None, seed=seed)


def trained(pooling: str, *, steps: int = 400, scenes: int = 4000, seed: int = 0) -> OpenClipBackbone:
    """The same after some hundred batches, each picture against all captions."""
    backbone = untrained(pooling, seed)
    rng = np.random.default_rng(seed)
    pictures, things = zip(*(scene(rng) for _ in range(scenes)), strict=True)
    pixels_BCHW = backbone.preprocess.normalise(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2))
    wanted_BQ = torch.zeros(scenes, len(THINGS))
    for row, present in zip(wanted_BQ, things, strict=True):
        row[present] = 1 / len(present)
    optimizer = torch.optim.AdamW(backbone.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    generator = torch.Generator().manual_seed(seed)
    ids_QL = backbone.tokenizer(CAPTIONS)
    for _ in range(steps):
        chosen = torch.randint(0, scenes, (64,), generator=generator)
        captions_QE = F.normalize(backbone.model.encode_text(ids_QL), dim=-1)
        cosines_BQ = backbone.image_vectors(pixels_BCHW[chosen]) @ captions_QE.T
        optimizer.zero_grad()
        F.cross_entropy(20 * cosines_BQ, wanted_BQ[chosen]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    optimizer.zero_grad()
    return backbone


def _ground(rng: np.random.Generator) -> Picture:
    noise_HWC = rng.integers(60, 130) + rng.normal(0, 12, (SIDE, SIDE, 3))
    return np.clip(noise_HWC, 0, 255).astype(np.uint8)


def _draw(picture_HWC: Picture, thing: int, middle: tuple[float, float], radius: float) -> None:
    colour, shape = THINGS[thing]
    down_HW, across_HW = np.mgrid[:SIDE, :SIDE] + 0.5
    x, y = (across_HW - middle[0]) / radius, (down_HW - middle[1]) / radius
    inside = {
        "circle": x**2 + y**2 <= 1,
        "square": (abs(x) <= 0.85) & (abs(y) <= 0.85),
        "triangle": (y <= 0.8) & (y >= 1.9 * abs(x) - 1),
        "cross": ((abs(x) <= 0.33) & (abs(y) <= 1)) | ((abs(y) <= 0.33) & (abs(x) <= 1)),
    }[shape]
    picture_HWC[inside] = COLOURS[colour]
