"""A run opened for a recipe, up to but without its voxels: RunFiles + Recipe -> header, confounds, operator.

`data.caches.plan` and the cleaning itself both go this way, so that what is planned is what is done.
Letters: T frames of the run, F frames that are kept.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.cleaning.confounds import Confounds, load_confounds
from data.cleaning.operator import cleaning_operator
from data.cleaning.recipe import Recipe
from data.errors import BadFileError, ParameterError
from data.scans.bids import RunFiles
from data.scans.bold import BoldRun

MEMORY_SHARE = 0.8  # of the machine's, that one run's series may take


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenedRun:
    """What cleaning needs besides voxels.

    Attributes:
        run: header, TR and mask's grid, checked.
        confounds: regressors and frames to keep.
        operator_FT: float64, cleans a series (T, V).
    """

    run: BoldRun
    confounds: Confounds
    operator_FT: NDArray[np.float64]


def open_for(files: RunFiles, recipe: Recipe) -> OpenedRun:
    """Open a run and fit the recipe to it; no voxel is read.

    Raises:
        BadFileError: the run, its mask or its confounds cannot be used.
        ParameterError: the recipe does not fit the run (the message names its file).
    """
    require_undoubled(files, recipe)
    return fitted(BoldRun.of(files), recipe)


def fitted(run: BoldRun, recipe: Recipe) -> OpenedRun:
    """Load the confounds of an open run and make the operator that cleans it.

    Raises:
        BadFileError: its confounds cannot be used.
        ParameterError: the recipe does not fit the run.
    """
    confounds = load_confounds(run.confounds, recipe.confounds, run.n_frames, recipe.fd_limit_mm)
    try:
        operator_FT = cleaning_operator(
            run.n_frames, run.tr, confounds.values_TK, recipe, kept_F=confounds.kept_F
        )
    except ParameterError as error:
        # The recipe does not fit this run; say which.
        raise type(error)(
            error.what, must_be=error.must_be, got=error.got, do=error.do, path=run.path
        ) from error
    return OpenedRun(run=run, confounds=confounds, operator_FT=operator_FT)


def require_undoubled(files: RunFiles, recipe: Recipe) -> None:
    """Refuse to take confounds out of what was denoised already: it would put back what was taken out.

    Lindquist et al. 2019 (doi 10.1002/hbm.24528) show it of steps that are taken one after the other.

    Raises:
        ParameterError: the run is denoised, and the recipe has confounds.
    """
    if files.denoised and recipe.confounds != "none":
        raise ParameterError(
            "confounds",
            must_be=f"'none', since the run is already denoised (desc-{files.desc})",
            got=f"{recipe.confounds!r}",
            do="use --confounds none, or give the derivative of fMRIPrep",
            path=files.bold,
        )


def require_memory(files: RunFiles, needed: int) -> None:
    """Refuse a run whose series fills the machine's memory: it is a bomb, or asks for another machine.

    Raises:
        BadFileError: `needed` bytes are more than 80 % of the memory.
    """
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > MEMORY_SHARE * there:
        raise BadFileError(
            "run of fMRI",
            must_be=f"one that fits the memory ({there / 1e9:.0f} GB)",
            got=f"{needed / 1e9:.0f} GB of in-mask voxels",
            do="check its header, or use a larger machine or larger voxels",
            path=files.bold,
        )
