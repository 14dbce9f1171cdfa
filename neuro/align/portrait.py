"""A run as a small picture, for search to show: three slices of the mean scan, or how regions are coupled.

Letters: X Y Z voxels, T frames, R regions; H W pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.caches.cache import Cache
from data.parcels.series import Parcels

SIDE = 256
Grey = NDArray[np.uint8]


def portrait(cache: Cache, i: int) -> Image.Image:
    """A picture of run `i`: of its voxels where it has them, else of the first atlas' regions."""
    if int(cache.table.iloc[i]["n_voxels"]) > 0:
        run = cache.run(i)
        volume_XYZ = np.zeros(run.mask_XYZ.shape, dtype=np.float32)
        volume_XYZ[run.mask_XYZ] = run.mean_V
        return _joined([_scaled(slice_HW) for slice_HW in _middle_slices(volume_XYZ, run.mask_XYZ)])
    return _scaled(_coupling(cache.parcels(i, cache.atlases[0])))


def write_portrait(cache: Cache, i: int, path: Path) -> Path:
    """The picture of run `i` as a PNG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    portrait(cache, i).save(path, format="PNG")
    return path


def _middle_slices(volume_XYZ: NDArray[np.float32], mask_XYZ: NDArray[np.bool_]) -> list[Grey]:
    """Sagittal, coronal and axial through the brain's middle, up and front upwards, in grey."""
    bright = float(np.percentile(volume_XYZ[mask_XYZ], 99)) or 1.0
    grey_XYZ = (volume_XYZ / bright * 255).clip(0, 255).astype(np.uint8)
    x, y, z = (round(float(places.mean())) for places in np.nonzero(mask_XYZ))
    return [
        np.ascontiguousarray(plane[:, ::-1].T) for plane in (grey_XYZ[x], grey_XYZ[:, y], grey_XYZ[:, :, z])
    ]


def _coupling(parcels: Parcels) -> Grey:
    """Correlations of the regions (R, R), from -1 in black to 1 in white."""
    series_TR = np.asarray(parcels.z_FR, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        r_RR = np.nan_to_num(np.corrcoef(series_TR, rowvar=False))
    return ((r_RR + 1) / 2 * 255).clip(0, 255).astype(np.uint8)


def _scaled(grey_HW: Grey) -> Image.Image:
    height, width = grey_HW.shape
    wide = max(1, round(width * SIDE / height))
    return Image.fromarray(grey_HW).resize((wide, SIDE), Image.Resampling.BILINEAR)


def _joined(parts: list[Image.Image]) -> Image.Image:
    whole = Image.new("L", (sum(part.width for part in parts), SIDE))
    left = 0
    for part in parts:
        whole.paste(part, (left, 0))
        left += part.width
    return whole
