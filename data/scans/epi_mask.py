"""The brain mask of a run: its file, or one computed from the mean of its first frames -> bool (X, Y, Z)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.errors import BadFileError
from data.scans.bids import RunFiles
from data.scans.bold import BoldRun

FRAMES = 30  # their mean is as good as that of all for telling brain from air, and a tenth of the reading

LEAST_CONTRAST = 1.5  # of the brain to what is around it; 3 and more in real runs


def brain_mask(run: BoldRun, files: RunFiles) -> NDArray[np.bool_]:
    """The run's mask, from its file where it has one, or else computed.

    Raises:
        BadFileError: the mask is empty or damaged; or no brain stands out from the mean image.
    """
    return computed_mask(run) if run.mask is None and files.computed_mask else run.mask_volume()


def computed_mask(run: BoldRun) -> NDArray[np.bool_]:
    """The brain by nilearn's `compute_epi_mask`, from the mean of the first 30 frames; frames are streamed.

    It is the largest connected part above the valley between dark and bright of the histogram (the method of
    T. Nichols that nilearn took over), and includes more of the rim than fMRIPrep's mask.

    Raises:
        BadFileError: no brain stands out, as in a run that was demeaned; or the file is damaged.
    """
    import warnings

    import nibabel as nib
    from nilearn.masking import compute_epi_mask

    mean_XYZ, count = np.zeros(run.shape[:3]), 0
    for _, block_XYZn in run.frames():
        taken_XYZn = block_XYZn[..., : FRAMES - count]
        mean_XYZ += np.nan_to_num(taken_XYZn, nan=0, posinf=0, neginf=0).sum(axis=3, dtype=float)
        count += taken_XYZn.shape[3]
        if count == FRAMES:
            break
    image = nib.Nifti1Image((mean_XYZ / count).astype(np.float32), run.affine)
    # Opening by two voxels leaves nothing of a few slices.
    opening = 2 if min(run.shape[:3]) > 8 else False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty mask is told below, in our words
            found = compute_epi_mask(image, opening=opening)
        mask_XYZ: NDArray[np.bool_] = np.asarray(found.dataobj) != 0
    except (ValueError, IndexError) as error:
        raise _no_brain(run, str(error)) from error
    if not mask_XYZ.any():
        raise _no_brain(run, "an empty mask")
    if mask_XYZ.all() or mean_XYZ[mask_XYZ].mean() < LEAST_CONTRAST * mean_XYZ[~mask_XYZ].mean():
        raise _no_brain(run, "one that is alike everywhere")
    return mask_XYZ


def _no_brain(run: BoldRun, found: str) -> BadFileError:
    return BadFileError(
        "mean image",
        must_be="one from which a brain stands out, for want of a brain mask",
        got=found,
        do="give a brain mask on the run's grid",
        path=run.path,
    )
