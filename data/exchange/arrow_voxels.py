"""Voxels of a run on Brainmarks' grid of 2 mm: run (V,) -> the template's mask, in the order z, y, x (D,).

Nothing is interpolated: a run must lie on a grid of 2 mm whose voxels are the template's (fMRIPrep's
`MNI152NLin6Asym_res-2`, or any MNI space prepared with `voxel_mm=2`).
Letters: V in-mask voxels of a run in C order of its mask, D voxels of the template's mask.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import BadFileError, ParameterError
from data.exchange.arrow_layout import MNI_AFFINE, MNI_SHAPE
from data.scans.nifti import checked_affine, open_image, read_volume, same_grid

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]

TOLERANCE_VOXELS = 0.025  # 0.05 mm


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplateVoxels:
    """Which voxels the space has.

    Attributes:
        mask_XYZ: bool, (91, 109, 91).
        indices_D3: their indices x, y, z, in Brainmarks' order.
    """

    mask_XYZ: Mask
    indices_D3: NDArray[np.int64]

    @classmethod
    def read(cls, path: Path) -> TemplateVoxels:
        """The mask of a template, whatever the direction of its x axis.

        Raises:
            BadFileError: no mask on the template's grid of 2 mm.
        """
        import nibabel as nib

        image = open_image(path)
        image = nib.as_closest_canonical(nib.Nifti1Image(read_volume(path), image.affine))
        if not same_grid(image.shape, checked_affine(path, image.affine), MNI_SHAPE, MNI_AFFINE):
            raise BadFileError(
                "mask",
                must_be=f"on the template's grid of 2 mm, {MNI_SHAPE}",
                got=f"shape {tuple(image.shape)}, affine {np.asarray(image.affine)[:3].round(2).tolist()}",
                do="give tpl-MNI152NLin6Asym_res-02_desc-brain_mask.nii.gz",
                path=path,
            )
        mask_XYZ = np.asarray(image.dataobj) > 0
        return cls(mask_XYZ=mask_XYZ, indices_D3=np.argwhere(mask_XYZ.transpose(2, 1, 0))[:, ::-1])

    @property
    def count(self) -> int:
        """D."""
        return len(self.indices_D3)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of the mask."""
        return hashlib.sha256(np.packbits(self.mask_XYZ).tobytes()).hexdigest()[:16]

    @property
    def in_run_order(self) -> NDArray[np.intp]:
        """For each voxel in C order of the mask its place in Brainmarks' order: what import takes."""
        place_XYZ = np.zeros(MNI_SHAPE, dtype=np.intp)
        place_XYZ[tuple(self.indices_D3.T)] = np.arange(self.count)
        taken: NDArray[np.intp] = place_XYZ[self.mask_XYZ]
        return taken

    def of_run(self, mask_XYZ: Mask, affine: Doubles, name: str) -> Callable[[Floats], Floats]:
        """How rows of a run (n, V) become rows of the space (n, D); 0 where the run has no voxel.

        Raises:
            ParameterError: the run's voxels are not the template's.
        """
        to_run = np.linalg.inv(affine) @ MNI_AFFINE
        places_D3 = self.indices_D3 @ to_run[:3, :3].T + to_run[:3, 3]
        ijk_D3 = np.rint(places_D3).astype(np.int64)
        inside_D = ((ijk_D3 >= 0) & (ijk_D3 < mask_XYZ.shape)).all(axis=1)
        if np.abs(places_D3 - ijk_D3).max() > TOLERANCE_VOXELS or not inside_D.any():
            raise ParameterError(
                f"run {name}",
                must_be="on a grid of 2 mm whose voxels are the template's",
                got=f"affine {np.asarray(affine)[:3].round(2).tolist()}",
                do="prepare it with `voxel_mm` 2",
            )
        voxel_XYZ = np.full(mask_XYZ.shape, -1, dtype=np.int64)
        voxel_XYZ[mask_XYZ] = np.arange(np.count_nonzero(mask_XYZ))
        voxel_D = np.full(self.count, -1, dtype=np.int64)
        voxel_D[inside_D] = voxel_XYZ[tuple(ijk_D3[inside_D].T)]
        there_D = voxel_D >= 0

        def take(rows_nV: Floats) -> Floats:
            rows_nD = np.zeros((len(rows_nV), self.count), dtype=np.float32)
            rows_nD[:, there_D] = rows_nV[:, voxel_D[there_D]]
            return rows_nD

        return take
