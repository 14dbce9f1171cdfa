"""Values back in a brain -> a NIfTI image in mm of the run's space, and onto the disk.

Letters: R regions, X Y Z voxel axes.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError
from data.parcels.atlas_names import kind_of
from data.parcels.atlases import Atlas, load_atlas
from data.writing import whole_file
from neuro.tokens import CubeTokens, ParcelTokens, RunTokens, SliceTokens

Floats = NDArray[np.float32]
Placed = CubeTokens | SliceTokens  # runs with a grid of voxels


def as_image(values: Floats, run: RunTokens, atlas: Atlas | None = None) -> Any:
    """A volume (X, Y, Z) on a run's grid, or values of its regions (R,), as a NIfTI image.

    Raises:
        ParameterError: regions of an atlas that is not known, or not the run's.
    """
    import nibabel as nib

    if isinstance(run, Placed):
        return nib.Nifti1Image(values.astype(np.float32), run.affine)
    known = atlas if atlas is not None else known_atlas(run)
    if known is None or len(known.regions) != len(values):
        got = "an atlas that is not here" if known is None else f"{len(known.regions)} for {len(values)}"
        raise ParameterError(
            "regions", must_be="of a known atlas for a map", got=got, do="give the atlas, or take the table"
        )
    painted_XYZ = np.concatenate([[0], values]).astype(np.float32)[known.labels_XYZ]
    return nib.Nifti1Image(painted_XYZ, known.affine)


def known_atlas(run: RunTokens) -> Atlas | None:
    """The atlas whose regions a run's places are, by name; None where it is not sure which that is.

    It is sure where the regions know their places in mm (see `neuro.tokens.region_places`) and these are
    those of the atlas of that name.
    """
    if not isinstance(run, ParcelTokens) or np.isnan(run.centres_S3).any():
        return None
    try:
        if kind_of(run.spec.atlas) == "file":
            return None
        atlas = load_atlas(run.spec.atlas)
    except ParameterError:
        return None
    centres_R3 = atlas.centres()
    same = centres_R3.shape == run.centres_S3.shape and np.allclose(centres_R3, run.centres_S3, atol=0.01)
    return atlas if same else None


def write_image(image: Any, path: Path) -> None:
    """Write a NIfTI image as .nii.gz, whole or not at all."""
    with whole_file(path) as draft:
        # nibabel would not know the draft by its ending.
        draft.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
