"""One new preprocessed run + a trained run's folder -> probability of the positive class."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

from data.caches.cached_run import CachedRun, open_run
from data.caches.run_writing import write_run
from data.errors import BadFileError, ParameterError
from data.scans.bids import RunFiles, parse_entities
from data.scans.bids_names import NATIVE
from neuro.run_folder import TrainedRun
from neuro.tokens import cubes
from neuro.training.supervised import run_logit

TR_TOLERANCE = 0.05


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the model says of one run; for research, not for diagnosis.

    Attributes:
        bold: the run.
        probability: of the positive class, uncalibrated.
        logit: its log odds, averaged over the clips of the run.
        clips: how many clips were averaged.
        recipe_identity: how the run was cleaned.
    """

    bold: Path
    probability: float
    logit: float
    clips: int
    recipe_identity: str


def predict(
    trained: TrainedRun, bold: str | Path, *, mask: str | Path | None, confounds: str | Path | None
) -> Prediction:
    """Clean a run as the training runs were, and classify it.

    Args:
        trained: from `neuro.run_folder.load_run`.
        bold: preprocessed 4-D run in the space of the training runs.
        mask: its brain mask.
        confounds: its confounds table, if the recipe needs one.

    Raises:
        BadFileError: a file cannot be used.
        ParameterError: the run's repetition time or voxels do not fit those of training.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = _clean(trained, Path(bold), mask, confounds, Path(folder))
        _check_acquisition(run, trained, Path(bold))
        tokens = cubes(run, trained.tubelet)
        logit = run_logit(trained.classifier.model_, tokens)
    return Prediction(
        bold=Path(bold),
        probability=1 / (1 + math.exp(-logit)),
        logit=logit,
        clips=len(tokens.clip_starts()),
        recipe_identity=trained.recipe.identity,
    )


def _clean(
    trained: TrainedRun, bold: Path, mask: str | Path | None, confounds: str | Path | None, folder: Path
) -> CachedRun:
    if mask is None:
        raise BadFileError(
            "brain mask",
            must_be="given",
            got="none",
            do="name the run's …_desc-brain_mask.nii.gz with --mask",
            path=bold,
        )
    named, _ = parse_entities(bold.name)
    space = named.get("space", trained.space)
    if space != trained.space:
        raise ParameterError(
            "space",
            must_be=f"{trained.space}, as in training",
            got=space,
            do="give the run in that space",
            path=bold,
        )
    files = RunFiles(
        # The space decides the grid that a recipe with voxel_mm resamples to.
        entities={"sub": "new"} | ({} if space == NATIVE else {"space": space}),
        bold=bold,
        mask=Path(mask),
        confounds=Path(confounds) if confounds is not None else None,
        desc=named.get("desc", "preproc"),
    )
    write_run(files, trained.recipe, folder / "run")
    return open_run(folder / "run", "sub-new")


def _check_acquisition(run: CachedRun, trained: TrainedRun, bold: Path) -> None:
    if abs(run.tr - trained.tr) > TR_TOLERANCE * trained.tr:
        raise ParameterError(
            "repetition time",
            must_be=f"within 5 % of the training runs' {trained.tr:g} s",
            got=f"{run.tr:g} s",
            do="resample the run in time, or train on runs like it",
            path=bold,
        )
    wanted = trained.classifier.model_.encoder.layout.amplitude
    cut = trained.tubelet.patch_voxels(run.affine)
    if cut != wanted:
        raise ParameterError(
            f"voxels of a {trained.tubelet.patch_mm:g} mm cube",
            must_be=f"{wanted} as in training",
            got=f"{cut}",
            do="resample the run to the training runs' voxel size",
            path=bold,
        )
