"""One new preprocessed run + a trained run's folder -> probability of the positive class, and its worth."""

from __future__ import annotations

import tempfile
from pathlib import Path

from data.caches.cached_run import CachedRun, open_run
from data.caches.run_writing import write_run
from data.cleaning.as_given import AsGiven
from data.errors import BadFileError, FingerprintMismatchError, ParameterError
from data.parcels.atlases import Atlas, load_atlas
from data.scans.bids import RunFiles, parse_entities
from data.scans.bids_names import NATIVE
from neuro.calibration.acquisition import acquisition_of
from neuro.calibration.novelty import NoveltyScore
from neuro.calibration.scan_embedding import embeddings_of
from neuro.classifier.run_folder import TrainedRun
from neuro.explain import DEFAULT
from neuro.prediction.folder import require_ready, write_prediction
from neuro.prediction.prediction import Beside, Prediction, beside, calibrated
from neuro.tokens import ParcelSpec, RunTokens, SliceSpec, VolumeSpec, cut_run
from vision.backbones import load_backbone

TR_TOLERANCE = 0.05


def predict(
    trained: TrainedRun,
    bold: str | Path,
    *,
    mask: str | Path | None,
    confounds: str | Path | None,
    atlas: str | Path | None = None,
    out: str | Path | None = None,
    method: str = DEFAULT,
) -> Prediction:
    """Clean a run as the training runs were, and classify it.

    Args:
        trained: from `neuro.classifier.run_folder.load_run`.
        bold: preprocessed 4-D run in the space of the training runs.
        mask: its brain mask.
        confounds: its confounds table, if the recipe needs one.
        atlas: file of the atlas that the model's regions are from, where it has no name.
        out: a new or empty folder for what `neuro.prediction.folder` writes; None writes nothing.
        method: of the map in it, a name of `neuro.explain.METHODS`.

    Raises:
        BadFileError: a file cannot be used.
        UnknownNameError: no such method.
        ParameterError: the folder holds something; the run's repetition time or voxels do not fit those of
            training; or the model was trained on series that somebody else cleaned.
        FingerprintMismatchError: the atlas, or the model that looks at slices, is not that of training.
    """
    bold = Path(bold)
    if out is not None:
        require_ready(out, method)
    regions = _atlas(trained, atlas)
    with tempfile.TemporaryDirectory() as folder:
        run = _clean(trained, _files(trained, bold, mask, confounds), Path(folder), regions)
        _check_acquisition(run, trained, bold)
        tokens = _cut(run, trained)
        found = _said(trained, bold, run, tokens)
        if out is not None:
            write_prediction(found, trained, tokens, out, method=method, atlas=regions)
    return found


def _said(trained: TrainedRun, bold: Path, run: CachedRun, tokens: RunTokens) -> Prediction:
    logit = float(trained.classifier.decision_function([tokens])[0])
    novelty: NoveltyScore | None = None
    rows: tuple[Beside, ...] = ()
    if trained.novelty is not None:
        acquisition = acquisition_of(run, {"space": parse_entities(bold.name)[0].get("space")})
        novelty = trained.novelty.score(embeddings_of(trained.classifier, [tokens])[0], acquisition)
        rows = beside(trained.novelty.fingerprint, acquisition)
    return Prediction(
        bold=bold,
        logit=logit,
        clips=len(tokens.clip_starts()),
        recipe_identity=trained.recipe.identity,
        trained=trained.digest,
        novelty=novelty,
        acquisition=rows,
        warnings=_known(trained, bold) + (novelty.in_words() if novelty is not None else ()),
        **calibrated(trained.calibration, logit),
    )


def _known(trained: TrainedRun, bold: Path) -> tuple[str, ...]:
    """A warning where somebody of this name was trained on."""
    name = parse_entities(bold.name)[0].get("sub")
    known = {str(who) for who in (*trained.facts["participants"], *trained.facts["people"])}
    if name is None or not {name, f"sub-{name}"} & known:
        return ()
    return (
        f"sub-{name} is among the people that the model was trained on: if this is the same person, the"
        " probability says nothing of how well it knows others",
    )


def _atlas(trained: TrainedRun, given: str | Path | None) -> Atlas | None:
    """The atlas of training, where regions are the tokens."""
    spec = trained.tokens
    if isinstance(trained.recipe, AsGiven):
        raise ParameterError(
            "model",
            must_be="trained on runs that were cleaned here, to clean a new one alike",
            got=f"one of series as given ({trained.recipe.given})",
        )
    if not isinstance(spec, ParcelSpec):
        return None
    atlas = load_atlas(given if given is not None else spec.atlas)
    if (atlas.name, atlas.digest) != (spec.atlas, trained.atlas_digest):
        raise FingerprintMismatchError(
            "atlas",
            must_be=f"that of training, {spec.atlas} ({trained.atlas_digest})",
            got=f"{atlas.name} ({atlas.digest})",
            do="name its file with --atlas",
        )
    return atlas


def _cut(run: CachedRun, trained: TrainedRun) -> RunTokens:
    spec = trained.tokens
    if not isinstance(spec, SliceSpec):
        return cut_run(run, spec)
    backbone = load_backbone(spec.backbone, device=trained.classifier.device)
    if backbone.fingerprint != trained.slice_fingerprint:
        raise FingerprintMismatchError(
            "model that looks at slices",
            must_be=trained.slice_fingerprint or "none",
            got=backbone.fingerprint,
        )
    return cut_run(run, spec, backbone)


def _files(
    trained: TrainedRun, bold: Path, mask: str | Path | None, confounds: str | Path | None
) -> RunFiles:
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
    return RunFiles(
        # The space decides the grid that a recipe with voxel_mm resamples to.
        entities={"sub": "new"} | ({} if space == NATIVE else {"space": space}),
        bold=bold,
        mask=Path(mask),
        confounds=Path(confounds) if confounds is not None else None,
        desc=named.get("desc", "preproc"),
    )


def _clean(trained: TrainedRun, files: RunFiles, folder: Path, atlas: Atlas | None) -> CachedRun:
    write_run(files, trained.recipe, folder / "run", [atlas] if atlas is not None else [])
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
    spec = trained.tokens
    if not isinstance(spec, VolumeSpec):
        return
    wanted, found = trained.classifier.layout_.amplitude, spec.patch_voxels(run.affine)
    if found != wanted:
        raise ParameterError(
            f"voxels of a {spec.patch_mm:g} mm cube",
            must_be=f"{wanted} as in training",
            got=f"{found}",
            do="resample the run to the training runs' voxel size",
            path=bold,
        )
