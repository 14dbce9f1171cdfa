"""What a model wants done to a photograph: PIL.Image -> pixels (C, H, W), as data kept with the weights.

Two ways lead there. Calling a `Preprocess` gives what open_clip and timm give, to the bit. `pixels` and
`normalise` are the same in two steps, for many pictures: the first on the CPU in a few threads or processes,
the second on the device, so that a byte per value travels between them.

Shape legend: B batch, C channels, H W pixels.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch.nn import functional as F

from data.errors import ParameterError

INTERPOLATIONS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
}
RESIZE_MODES = ("shortest", "longest", "squash")


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """PIL.Image -> float32 tensor (3, height, width): RGB, resize, centre crop or pad, scale, normalise.

    Gives what the transforms of open_clip and timm give, to the bit for RGB pictures. Palette and alpha
    pictures are turned to RGB before the resize (open_clip does it after, which resizes palette indices).

    Args:
        size: height and width that the model takes.
        resize_to: height and width of the box that the picture is fitted to before the crop.
        resize_mode: "shortest" covers the box, "longest" fits inside it, "squash" fills it and ignores the
            aspect ratio.
        interpolation: "bicubic", "bilinear" or "nearest".
        mean: per channel, of values scaled to 0..1.
        std: per channel.
        fill: RGB value, 0..255, of the padding where the picture is smaller than the crop.
    """

    size: tuple[int, int]
    resize_to: tuple[int, int]
    resize_mode: str = "shortest"
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    fill: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        if self.resize_mode not in RESIZE_MODES:
            raise ParameterError("resize_mode", must_be=f"one of {RESIZE_MODES}", got=repr(self.resize_mode))
        if self.interpolation not in INTERPOLATIONS:
            raise ParameterError(
                "interpolation", must_be=f"one of {tuple(INTERPOLATIONS)}", got=repr(self.interpolation)
            )

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Picture of any size and mode -> pixels (3, height, width), float32, normalised."""
        image = image.convert("RGB")
        height, width = self._resized(image.height, image.width)
        image = image.resize((width, height), INTERPOLATIONS[self.interpolation])
        pixels_HWC = np.asarray(self._crop_or_pad(image), dtype=np.uint8)
        return self.normalise(torch.from_numpy(pixels_HWC.copy()).permute(2, 0, 1).contiguous())

    @property
    def resized_side(self) -> int:
        """The longest side of the box: JPEGs decoded at a few times this still scale down well."""
        return max(self.resize_to)

    def pixels(self, picture_HWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """RGB picture (H, W, 3) -> pixels (3, height, width), resized and cropped or padded, not normalised.

        The resize is torch's on 8-bit values (what torchvision's `resize` calls), antialiased: several times
        quicker than Pillow's, of which it differs by 1 level of 255 at a few values in a thousand, and by 2
        or 3 at about one in a million.
        """
        height, width = self._resized(*picture_HWC.shape[:2])
        if self.interpolation == "nearest":
            image = Image.fromarray(picture_HWC).resize((width, height), Image.Resampling.NEAREST)
            resized_CHW = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        else:
            pixels_1CHW = torch.from_numpy(picture_HWC).permute(2, 0, 1)[None]
            resized_CHW = F.interpolate(
                pixels_1CHW, (height, width), mode=self.interpolation, antialias=True, align_corners=False
            )[0]
        return np.ascontiguousarray(self._cropped_or_padded(resized_CHW).numpy())

    def seen_box(self, height: int, width: int) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of what the model sees of a picture of that size, as fractions of it.

        Below 0 and above 1 where the picture is padded; 0, 0, 1, 1 where all of it fills the model's field.
        """
        rows, columns = self._resized(height, width)
        top, bottom = _seen_span(rows, self.size[0])
        left, right = _seen_span(columns, self.size[1])
        return left, top, right, bottom

    def normalise(self, pixels_CHW: torch.Tensor) -> torch.Tensor:
        """Pixels (..., 3, H, W) of type uint8 -> float32, scaled and normalised, on the same device."""
        mean, std = (
            torch.tensor(values, device=pixels_CHW.device).view(3, 1, 1) for values in (self.mean, self.std)
        )
        return pixels_CHW.float().div_(255).sub_(mean).div_(std)

    def describe(self) -> str:
        """A stable line that says all of it; part of a model's fingerprint."""
        return " ".join(f"{k}={_plain(v)}" for k, v in dataclasses.asdict(self).items())

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-ready data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Preprocess:
        """The inverse of `to_dict`, also from JSON, where tuples have become lists."""
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return cls(**plain)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the resize, rounded as torchvision and open_clip do."""
        box_height, box_width = self.resize_to
        if self.resize_mode == "squash":
            return box_height, box_width
        if self.resize_mode == "shortest" and box_height == box_width:
            if width <= height:
                return int(box_width * height / width), box_width
            return box_height, int(box_height * width / height)
        choose = min if self.resize_mode == "shortest" else max
        ratio = choose(height / box_height, width / box_width)
        # A picture one pixel wide and very long must not vanish.
        return max(1, round(height / ratio)), max(1, round(width / ratio))

    def _crop_or_pad(self, image: Image.Image) -> Image.Image:
        height, width = self.size
        more_height, more_width = max(0, height - image.height), max(0, width - image.width)
        if more_height or more_width:
            border = (more_width // 2, more_height // 2, (more_width + 1) // 2, (more_height + 1) // 2)
            image = ImageOps.expand(image, border, self.fill)
        top, left = round((image.height - height) / 2), round((image.width - width) / 2)
        return image.crop((left, top, left + width, top + height))

    def _cropped_or_padded(self, pixels_CHW: torch.Tensor) -> torch.Tensor:
        """`_crop_or_pad` for pixels (3, H, W)."""
        height, width = self.size
        _, old_height, old_width = pixels_CHW.shape
        more_height, more_width = max(0, height - old_height), max(0, width - old_width)
        if more_height or more_width:
            fill_C11 = torch.tensor(self.fill, dtype=torch.uint8).view(3, 1, 1)
            padded_CHW = fill_C11.repeat(1, old_height + more_height, old_width + more_width)
            top, left = more_height // 2, more_width // 2
            padded_CHW[:, top : top + old_height, left : left + old_width] = pixels_CHW
            pixels_CHW = padded_CHW
        top, left = round((pixels_CHW.shape[1] - height) / 2), round((pixels_CHW.shape[2] - width) / 2)
        return pixels_CHW[:, top : top + height, left : left + width]


def _seen_span(resized: int, seen: int) -> tuple[float, float]:
    """First and last pixel that are seen along one side, as fractions of it; rounded as the crop is."""
    padded = max(0, seen - resized)
    start = round((resized + padded - seen) / 2) - padded // 2
    return start / resized, (start + seen) / resized


def _plain(value: object) -> str:
    return ",".join(_plain(v) for v in value) if isinstance(value, tuple) else f"{value}"
