"""A heat map laid over its picture, for the eye.

Shape suffixes: H W pixels, C channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from data.errors import ParameterError

if TYPE_CHECKING:
    from vision.explain.explanation import Explanation

OPACITY = 0.72  # of the greatest heat: the thing itself must stay visible
UNSEEN = 0.45  # brightness that is left of what the model did not see, in grey


def overlay(
    explanation: Explanation, picture_HWC: npt.NDArray[np.uint8], max_side: int = 1600
) -> Image.Image:
    """The picture (H, W, 3) in muted colours, the heat over it; never larger than it, at most `max_side`.

    Cold places stay a picture, so that one sees where the heat lies; what the model did not see is grey and
    dark.

    Raises:
        ParameterError: `max_side` below 1.
    """
    if max_side < 1:
        raise ParameterError("max_side", must_be="at least 1 pixel", got=max_side)
    image = Image.fromarray(picture_HWC)
    if max(image.size) > max_side:
        scale = max_side / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    heat_HW = explanation.on_picture(image.height, image.width)
    seen_HW1 = np.isfinite(heat_HW)[..., None]
    heat_HW = np.nan_to_num(heat_HW)
    colour_HWC = np.asarray(image, dtype=np.float32)
    grey_HWC = np.repeat(np.asarray(image.convert("L"), dtype=np.float32)[..., None], 3, axis=2)
    muted_HWC = 0.62 * (0.5 * colour_HWC + 0.5 * grey_HWC) + 14
    alpha_HW1 = OPACITY * _eased(heat_HW)[..., None]
    hot_HWC = muted_HWC * (1 - alpha_HW1) + 255 * _colours(heat_HW) * alpha_HW1
    mixed_HWC = np.where(seen_HW1, hot_HWC, UNSEEN * grey_HWC)
    return Image.fromarray(np.clip(mixed_HWC + 0.5, 0, 255).astype(np.uint8))


def _eased(heat_HW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Smooth at both ends, so that the heat has no edge."""
    return heat_HW**0.8 * (1.6 - 0.6 * heat_HW)


def _colours(heat_HW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Matplotlib's inferno, whose brightness rises evenly with the heat, from the part that is no black."""
    from matplotlib import colormaps

    return colormaps["inferno"](0.25 + 0.75 * heat_HW)[..., :3].astype(np.float32)  # type: ignore[no-any-return]
