"""Stand-ins for two files that Brainmarks fetches from the network: same dimensions, other anatomy.

- 450 regions for `schaefer400_tians3`: 400 patches of grey matter and 50 of the subcortex, found by k-means
  over the places of voxels of nilearn's own template. Schaefer's and Tian's borders are not theirs.
- A mask for `mni`: the 228,483 voxels that lie deepest in nilearn's brain mask, on the grid of 2 mm.

Figures got with them say whether everything works together, not how well a model does on a known atlas.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.exchange.arrow_layout import DIMENSIONS, MNI_AFFINE, MNI_SHAPE

ATLAS = "stand-in-450"
CORTEX, SUBCORTEX = 400, 50
VOXEL_MM = 4
GREY = 0.35
# Half-widths in mm around the middle of the basal ganglia.
CENTRE_MM, REACH_MM = np.array([0.0, -2.0, 3.0]), np.array([36.0, 24.0, 17.0])


def write_atlas(folder: Path) -> Path:
    """Labels 1 to 450 at 4 mm, in `folder`."""
    import nibabel as nib
    from nilearn.datasets import load_mni152_gm_template

    image = load_mni152_gm_template(resolution=VOXEL_MM)
    ijk_V3 = np.argwhere(image.get_fdata() > GREY)
    places_V3 = ijk_V3 @ image.affine[:3, :3].T + image.affine[:3, 3]
    deep_V = (np.abs(places_V3 - CENTRE_MM) < REACH_MM).all(axis=1)
    labels_V = np.empty(len(ijk_V3), dtype=np.int16)
    labels_V[~deep_V] = 1 + _patches(places_V3[~deep_V], CORTEX)
    labels_V[deep_V] = 1 + CORTEX + _patches(places_V3[deep_V], SUBCORTEX)
    labels_XYZ = np.zeros(image.shape, dtype=np.int16)
    labels_XYZ[tuple(ijk_V3.T)] = labels_V
    path = folder / f"{ATLAS}.nii.gz"
    nib.save(nib.Nifti1Image(labels_XYZ, image.affine), path)
    return path


def write_mask(folder: Path) -> Path:
    """A mask with as many voxels as the space `mni` has, in `folder`."""
    import nibabel as nib
    from nilearn.datasets import load_mni152_brain_mask
    from nilearn.image import resample_img
    from scipy.ndimage import distance_transform_edt

    brain = load_mni152_brain_mask(resolution=2)
    there = resample_img(
        brain, target_affine=MNI_AFFINE, target_shape=MNI_SHAPE, interpolation="nearest", force_resample=True
    )
    depth_XYZ = distance_transform_edt(there.get_fdata() > 0)
    deepest = np.argsort(-depth_XYZ, axis=None, kind="stable")[: DIMENSIONS["mni"]]
    mask_XYZ = np.zeros(MNI_SHAPE, dtype=np.uint8)
    mask_XYZ.flat[deepest] = 1
    path = folder / "stand-in-mask.nii.gz"
    nib.save(nib.Nifti1Image(mask_XYZ, MNI_AFFINE), path)
    return path


def _patches(places_V3: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Which of `count` compact patches each place lies in: (V,), 0 to `count` - 1."""
    from sklearn.cluster import KMeans

    found: NDArray[np.intp] = KMeans(count, n_init=1, random_state=0).fit_predict(places_V3)
    return found
