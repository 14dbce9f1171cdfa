"""Two photographs on one canvas, and which of them a map points at: what `benchmarks.pointing` plays.

After the pointing game of Zhang et al. 2018, "Top-down Neural Attention by Excitation Backprop" (arXiv
1608.00507), with whole photographs for objects. Chance is 0.5.

Shape legend: H W pixels, R rows, C columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from scipy.stats import rankdata
from torch import nn

from benchmarks.photographs import Subject

Axis = Literal["left-right", "top-bottom"]
Fit = Literal["letterbox", "crop"]
GREY = (124, 116, 104)  # the mean of ImageNet
SIDE = 512


def pairs(chosen: list[Subject], seed: int = 0) -> list[tuple[Subject, Subject]]:
    """All of them, two by two, in an order drawn from the seed."""
    order = np.random.default_rng(seed).permutation(len(chosen))
    return [(chosen[a], chosen[b]) for a, b in zip(order[::2], order[1::2], strict=False)]


def canvas(
    first: Image.Image, second: Image.Image, fit: Fit, axis: Axis, side: int = SIDE
) -> npt.NDArray[np.uint8]:
    """Two pictures in the halves of a square (H, W, 3): whole with grey around, or cut to fill their half."""
    page = Image.new("RGB", (side, side), GREY)
    size = (side // 2, side) if axis == "left-right" else (side, side // 2)
    for number, picture in enumerate((first, second)):
        part = ImageOps.pad(picture, size, color=GREY) if fit == "letterbox" else ImageOps.fit(picture, size)
        page.paste(part, (number * side // 2, 0) if axis == "left-right" else (0, number * side // 2))
    return np.array(page)


def beside_noise(picture: Image.Image, half: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A picture in one half (0 left, 1 right), beside itself with random phases: its colours and grain."""
    noise = np.angle(np.fft.fft2(rng.standard_normal((SIDE, SIDE))))[..., None]
    waves_HWC = np.fft.fft2(np.asarray(ImageOps.fit(picture, (SIDE, SIDE)), dtype=float), axes=(0, 1))
    mixed_HWC = np.fft.ifft2(waves_HWC * np.exp(1j * noise), axes=(0, 1)).real
    scrambled = Image.fromarray(np.clip(mixed_HWC, 0, 255).astype(np.uint8))
    both = (picture, scrambled) if half == 0 else (scrambled, picture)
    return canvas(*both, "crop", "left-right")


@dataclass(frozen=True, kw_only=True)
class Pointed:
    """Whether more of the heat lies in the right half, and whether the hottest cell does; a tie is a miss."""

    mass: bool
    hottest: bool


def pointed(map_RC: npt.NDArray[np.float32], half: int, axis: Axis) -> Pointed:
    """Where a map of a square canvas points; `half` is 0 for the left or upper one."""
    along = map_RC.sum(axis=0) if axis == "left-right" else map_RC.sum(axis=1)
    middle = len(along) // 2
    halves = (along[:middle].sum(), along[-middle:].sum())
    row, column = np.unravel_index(int(map_RC.argmax()), map_RC.shape)
    place = int(column) if axis == "left-right" else int(row)
    there = place < middle if half == 0 else place >= len(along) - middle
    return Pointed(mass=bool(halves[half] > halves[1 - half]), hottest=bool(map_RC.any() and there))


def lite_stages(classifier: Any) -> list[nn.Module]:
    """The classifier of embedded:lite from its top to its bottom, for `cascade`."""
    head = nn.ModuleList([classifier.conv_head, classifier.bn2])
    stem = nn.ModuleList([classifier.conv_stem, classifier.bn1])
    return [classifier.classifier, head, *reversed(classifier.blocks), stem]


def cascade(stages: list[nn.Module], seed: int = 0) -> Iterator[int]:
    """Shuffle the weights of one module after the other, from the top, and pause after each.

    The cascading randomisation of Adebayo et al. 2018, "Sanity Checks for Saliency Maps" (arXiv 1810.03292);
    each tensor keeps its values, in another order, so that activations keep their scale.
    """
    generator = torch.Generator().manual_seed(seed)
    for number, stage in enumerate(stages, start=1):
        with torch.no_grad():
            for tensor in stage.parameters():
                order = torch.randperm(tensor.numel(), generator=generator)
                tensor.copy_(tensor.flatten()[order].reshape(tensor.shape))
        yield number


def alike(one_RC: npt.NDArray[np.float32], other_RC: npt.NDArray[np.float32]) -> float:
    """Spearman's rank correlation of two maps; 0 where one is the same everywhere."""
    ranks = [rankdata(map_RC.ravel()) for map_RC in (one_RC, other_RC)]
    return float(np.corrcoef(ranks)[0, 1]) if all(rank.std() > 0 for rank in ranks) else 0.0
