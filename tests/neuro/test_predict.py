"""One new run through a trained model: the same answer as in training, or one clear error."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from data.caches.cache import Cache, prepare
from data.cleaning.as_given import AsGiven
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort
from data.errors import (
    BadFileError,
    ChiasmError,
    FingerprintMismatchError,
    ParameterError,
    UnknownNameError,
)
from neuro.calibration.acquisition import acquisition_table
from neuro.calibration.calibration import calibrate
from neuro.calibration.inner_scores import InnerScores
from neuro.calibration.novelty import Novelty
from neuro.calibration.saved import write_calibration, write_novelty
from neuro.calibration.scan_embedding import embeddings_of
from neuro.classifier import ParkinsonClassifier
from neuro.classifier.run_folder import TrainedRun, load_run, save_run
from neuro.cli import main
from neuro.model import ModelConfig
from neuro.prediction.predict import predict
from neuro.study import StudyConfig, cut_runs, labels_and_people
from neuro.tokens import ParcelSpec, RunTokens, SliceSpec, TokenSpec, TubeletSpec, VolumeSpec
from neuro.training.config import Adaptation, TrainingConfig
from vision.backbones import load_backbone
from vision.backbones.checkpoint import save_backbone

from .conftest import TINY_BACKBONE


class Files(NamedTuple):
    bold: Path
    mask: Path
    confounds: Path


@pytest.fixture(scope="module")
def trained(run_folder: Path) -> TrainedRun:
    return load_run(run_folder, "cpu")


@pytest.fixture
def files(cache: Cache, tmp_path: Path) -> Files:
    """The training run 2 under names of one's own, without a sidecar: TR comes from the header."""
    row = cache.table.iloc[2]
    found = Files(tmp_path / "bold.nii.gz", tmp_path / "mask.nii.gz", tmp_path / "confounds.tsv")
    for name, path in found._asdict().items():
        shutil.copyfile(row[name], path)
    return found


def refusal(trained: TrainedRun, files: Files, mask: Path | None = None) -> str:
    with pytest.raises(ChiasmError) as caught:
        predict(trained, files.bold, mask=mask or files.mask, confounds=files.confounds)
    assert isinstance(caught.value, BadFileError | ParameterError)
    return str(caught.value)


def rewrite(path: Path, *, voxel_mm: float | None = None, tr: float | None = None, frames: int = 48) -> None:
    image = nib.load(path)
    data = np.asarray(image.dataobj)
    affine = image.affine.copy()
    if voxel_mm is not None:
        affine[:3, :3] *= voxel_mm / 8
    changed = nib.Nifti1Image(data[..., :frames] if data.ndim == 4 else data, affine)
    changed.header.set_xyzt_units("mm", "sec")
    if data.ndim == 4:
        changed.header.set_zooms((*changed.header.get_zooms()[:3], tr or 2.0))
    nib.save(changed, path)


def test_a_training_run_gets_the_logit_of_training(
    trained: TrainedRun, fitted: ParkinsonClassifier, tokens: list[RunTokens], cache: Cache
) -> None:
    expected = fitted.decision_function(tokens)
    for i in (0, 7):
        row = cache.table.iloc[i]
        found = predict(trained, row["bold"], mask=row["mask"], confounds=row["confounds"])
        assert found.logit == pytest.approx(expected[i], abs=1e-5)
        assert found.probability == pytest.approx(1 / (1 + math.exp(-expected[i])), abs=1e-5)
        assert (found.bold, found.clips) == (Path(row["bold"]), 2)
        assert found.recipe_identity == cache.identity
        assert (found.interval, found.labels, found.novelty) == (None, None, None)
        assert found.in_words.startswith("uncalibrated: ")
    assert expected[0] != pytest.approx(expected[7], abs=1e-3)


def test_names_do_not_matter_and_nothing_is_written(
    trained: TrainedRun, files: Files, fitted: ParkinsonClassifier, tokens: list[RunTokens]
) -> None:
    before = sorted(files.bold.parent.iterdir())
    found = predict(trained, str(files.bold), mask=str(files.mask), confounds=str(files.confounds))
    assert found.logit == pytest.approx(fitted.decision_function(tokens[2:3])[0], abs=1e-5)
    assert sorted(files.bold.parent.iterdir()) == before


def test_a_run_is_resampled_to_the_grid_of_training(
    derivative: Path, study: StudyConfig, tmp_path: Path
) -> None:
    recipe = Recipe(confounds="6p", voxel_mm=12.0)
    coarse = prepare(Cohort.from_derivatives(derivative), recipe, tmp_path / "cache", progress=False)
    runs = cut_runs(coarse, study.tokens)
    fitted = study.classifier().fit(runs, labels_and_people(coarse)[0])
    trained = load_run(save_run(fitted, coarse, tmp_path / "run"), "cpu")
    row = coarse.table.iloc[1]
    names = {
        "in": Path(row["bold"]),
        "out": tmp_path / "bold.nii.gz",
    }  # with its space in its name, and without
    shutil.copyfile(names["in"], names["out"])
    for bold in names.values():
        found = predict(trained, bold, mask=row["mask"], confounds=row["confounds"])
        assert found.logit == pytest.approx(fitted.decision_function(runs[1:2])[0], abs=1e-5)


def test_a_run_in_another_space(trained: TrainedRun, files: Files) -> None:
    bold = files.bold.rename(files.bold.with_name("sub-1_task-rest_space-T1w_desc-preproc_bold.nii.gz"))
    assert refusal(trained, files._replace(bold=bold)) == (
        f"{bold}: space must be MNI152NLin2009aSym, as in training, got T1w; give the run in that space."
    )


def test_a_run_that_is_denoised_already(trained: TrainedRun, files: Files) -> None:
    bold = files.bold.rename(files.bold.with_name("sub-1_task-rest_desc-denoised_bold.nii.gz"))
    assert "the run is already denoised" in refusal(trained, files._replace(bold=bold))


def test_a_single_volume(trained: TrainedRun, files: Files) -> None:
    image = nib.load(files.bold)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[..., 0], image.affine), files.bold)
    shape = image.shape[:3]
    assert refusal(trained, files) == (
        f"{files.bold}: run of fMRI must be 4-D (X, Y, Z, T), got 3-D of shape {shape};"
        " give the preprocessed time series, not a single volume or a map."
    )


def test_a_file_cut_short(trained: TrainedRun, files: Files) -> None:
    whole = files.bold.read_bytes()
    files.bold.write_bytes(whole[: len(whole) // 2])
    message = refusal(trained, files)
    assert message.startswith(f"{files.bold}: ")
    assert "must be 48 frames, as its header promises, got damaged compression" in message
    assert message.endswith("; the file is cut short or damaged: copy or fetch it again.")


def test_a_file_that_is_not_there(trained: TrainedRun, files: Files) -> None:
    files.bold.unlink()
    assert (
        refusal(trained, files) == f"{files.bold}: image must be a file, got nothing there; check the path."
    )


def test_no_mask_and_a_missing_mask(trained: TrainedRun, files: Files, tmp_path: Path) -> None:
    with pytest.raises(BadFileError) as caught:
        predict(trained, files.bold, mask=None, confounds=files.confounds)
    assert str(caught.value) == (
        f"{files.bold}: brain mask must be given, got none;"
        " name the run's …_desc-brain_mask.nii.gz with --mask."
    )
    absent = tmp_path / "absent.nii.gz"
    assert (
        refusal(trained, files, absent)
        == f"{absent}: brain mask must be a file, got nothing there; check the path."
    )


def test_a_mask_of_another_grid(trained: TrainedRun, files: Files) -> None:
    image = nib.load(files.mask)
    affine = image.affine.copy()
    affine[0, 3] += 4
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), files.mask)
    message = refusal(trained, files)
    assert message.startswith(f"{files.mask}: brain mask's grid must be that of bold.nii.gz (affine [[")
    assert message.endswith(
        "; give the mask of the same space and resolution, or resample it with nearest neighbours."
    )


def test_another_repetition_time(trained: TrainedRun, files: Files) -> None:
    rewrite(files.bold, tr=2.5)
    assert refusal(trained, files) == (
        f"{files.bold}: repetition time must be within 5 % of the training runs' 2 s, got 2.5 s;"
        " resample the run in time, or train on runs like it."
    )
    rewrite(files.bold, tr=2.05)
    predict(trained, files.bold, mask=files.mask, confounds=files.confounds)


def test_the_sidecar_states_the_repetition_time(trained: TrainedRun, files: Files) -> None:
    (files.bold.parent / "bold.json").write_text(json.dumps({"RepetitionTime": 3.0}))
    assert "training runs' 2 s, got 3 s" in refusal(trained, files)


def test_other_voxels(trained: TrainedRun, files: Files) -> None:
    for path in (files.bold, files.mask):
        rewrite(path, voxel_mm=4)
    assert refusal(trained, files) == (
        f"{files.bold}: voxels of a 16 mm cube must be (2, 2, 2) as in training, got (4, 4, 4);"
        " resample the run to the training runs' voxel size."
    )


def test_confounds_that_are_absent_or_of_another_run(trained: TrainedRun, files: Files) -> None:
    with pytest.raises(BadFileError, match="confounds table must be there for the strategy '6p', got none"):
        predict(trained, files.bold, mask=files.mask, confounds=None)
    lines = files.confounds.read_text().splitlines()
    files.confounds.write_text("\n".join(lines[:-3]) + "\n")
    assert (
        refusal(trained, files)
        == f"{files.confounds}: confounds table must be of 48 rows, one a frame, got 45 rows;"
        " give the table of this very run."
    )


def test_a_run_that_is_too_short_is_named(trained: TrainedRun, files: Files) -> None:
    rewrite(files.bold, frames=19)
    lines = files.confounds.read_text().splitlines()
    files.confounds.write_text("\n".join(lines[:20]) + "\n")
    assert refusal(trained, files).startswith(f"{files.bold}: ")


def test_a_run_of_somebody_who_was_trained_on_is_told(
    trained: TrainedRun, files: Files, cache: Cache
) -> None:
    row = cache.table.iloc[2]
    found = predict(trained, row["bold"], mask=row["mask"], confounds=row["confounds"])
    (warning,) = found.warnings
    assert warning.startswith(f"{row['participant_id']} is among the people that the model was trained on")
    for name, warned in (
        ("sub_bold", False),
        ("sub-99_bold", False),
        (f"{row['participant_id']}_bold", True),
    ):
        bold = shutil.copyfile(files.bold, files.bold.with_name(f"{name}.nii.gz"))
        given = predict(trained, bold, mask=files.mask, confounds=files.confounds)
        assert bool(given.warnings) is warned


@pytest.fixture(scope="module")
def with_regions(derivative: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cohort, recipe = Cohort.from_derivatives(derivative), Recipe(confounds="6p")
    return prepare(cohort, recipe, tmp_path_factory.mktemp("regions"), progress=False, atlases=["aal"])


SLICES = "scratch:vit_tiny_patch16_224/embed_dim=16,depth=1,num_heads=2,img_size=64"


@pytest.mark.parametrize(
    "spec",
    [
        VolumeSpec(frames=6),
        TubeletSpec(frames=24, window=12),
        ParcelSpec(atlas="aal", frames=24, window=12),
        ParcelSpec(atlas="aal", frames=48, profile="correlation"),
    ],
    ids=lambda spec: f"{spec.kind}-{spec.frames}",
)
def test_every_kind_of_token_gets_the_logit_of_training(
    spec: TokenSpec, with_regions: Cache, study: StudyConfig, tmp_path: Path
) -> None:
    runs = cut_runs(with_regions, spec)
    fitted = study.classifier().fit(runs, labels_and_people(with_regions)[0])
    trained = load_run(save_run(fitted, with_regions, tmp_path / "run"), "cpu")
    assert trained.tokens == spec
    row = with_regions.table.iloc[5]
    found = predict(trained, row["bold"], mask=row["mask"], confounds=row["confounds"])
    assert found.logit == pytest.approx(fitted.decision_function(runs[5:6])[0], abs=1e-4)
    assert found.clips == 48 // spec.frames


@pytest.mark.parametrize(
    "spec", [TubeletSpec(frames=24), ParcelSpec(atlas="aal", frames=48, profile="partial")]
)
def test_support_vectors_over_places_give_the_margin_of_training(
    spec: TokenSpec, with_regions: Cache, study: StudyConfig, tmp_path: Path
) -> None:
    model = ModelConfig(backbone=TINY_BACKBONE, readout="places")
    svm = replace(study, model=model, training=TrainingConfig(adaptation=Adaptation(method="svm")))
    runs, labels = cut_runs(with_regions, spec), labels_and_people(with_regions)[0]
    fitted = svm.classifier().fit(runs, labels)
    trained = load_run(save_run(fitted, with_regions, tmp_path / "run"), "cpu")
    row = with_regions.table.iloc[5]
    found = predict(trained, row["bold"], mask=row["mask"], confounds=row["confounds"])
    assert abs(found.logit) > 0.9  # it was trained on, and lies on its margin or beyond
    assert found.logit == pytest.approx(fitted.decision_function(runs[5:6])[0], abs=1e-3)
    assert found.probability == pytest.approx(1 / (1 + np.exp(-found.logit)))


@pytest.fixture(scope="module")
def picture_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that is the same whenever it is loaded by its name."""
    folder = tmp_path_factory.mktemp("models") / "pictures"
    return f"local:{save_backbone(load_backbone(SLICES, device='cpu'), folder)}"


def test_slices_get_the_logit_of_training_from_that_very_model(
    cache: Cache, study: StudyConfig, tmp_path: Path, picture_model: str
) -> None:
    spec = SliceSpec(backbone=picture_model, frames=4)
    runs = cut_runs(cache, spec)
    fitted = study.classifier().fit(runs, labels_and_people(cache)[0])
    trained = load_run(save_run(fitted, cache, tmp_path / "run"), "cpu")
    row = cache.table.iloc[5]
    files = {"mask": row["mask"], "confounds": row["confounds"]}
    found = predict(trained, row["bold"], **files)
    assert found.logit == pytest.approx(fitted.decision_function(runs[5:6])[0], abs=1e-4)
    other = replace(trained, slice_fingerprint="another")
    with pytest.raises(FingerprintMismatchError, match="model that looks at slices must be another, got"):
        predict(other, row["bold"], **files)


def test_the_atlas_must_be_that_of_training(with_regions: Cache, study: StudyConfig, tmp_path: Path) -> None:
    runs = cut_runs(with_regions, ParcelSpec(atlas="aal", frames=24))
    fitted = study.classifier().fit(runs, labels_and_people(with_regions)[0])
    trained = load_run(save_run(fitted, with_regions, tmp_path / "run"), "cpu")
    row = with_regions.table.iloc[5]
    files = {"mask": row["mask"], "confounds": row["confounds"]}
    with pytest.raises(FingerprintMismatchError, match=r"that of training, aal \(.*\), got juelich \("):
        predict(trained, row["bold"], **files, atlas="juelich")
    changed = replace(trained, atlas_digest="0" * 16)
    with pytest.raises(FingerprintMismatchError, match="name its file with --atlas"):
        predict(changed, row["bold"], **files)


def test_series_that_came_cleaned_tell_of_no_way_to_clean_a_run(trained: TrainedRun, files: Files) -> None:
    given = replace(trained, recipe=AsGiven(given="as published"))
    assert "one of series as given (as published)" in refusal(given, files)


@pytest.fixture(scope="module")
def whole(
    run_folder: Path,
    fitted: ParkinsonClassifier,
    tokens: list[RunTokens],
    cache: Cache,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The run with a calibration that is sure of patients, and with what its scans were like."""
    folder = shutil.copytree(run_folder, tmp_path_factory.mktemp("whole") / "run")
    labels, people = labels_and_people(cache)
    fold_of = np.arange(len(labels)) % 3
    scores = np.where(labels == 1, 2.0, -2.0) + np.linspace(-1, 1, len(labels))
    inner = InnerScores(scores=scores, labels=labels, people=people, fold_of=fold_of)
    write_calibration(calibrate(inner, resamples=50), folder)
    embeddings = embeddings_of(fitted, tokens)
    write_novelty(Novelty.fit(embeddings, acquisition_table(cache), people=people), folder)
    return folder


def test_a_calibrated_run_gives_probability_interval_and_set(
    whole: Path, files: Files, trained: TrainedRun
) -> None:
    run = load_run(whole, "cpu")
    assert run.calibration is not None
    found = predict(run, files.bold, mask=files.mask, confounds=files.confounds)
    plain = predict(trained, files.bold, mask=files.mask, confounds=files.confounds)
    assert found.logit == plain.logit
    assert found.probability == run.calibration.calibrator.probabilities([found.logit])[0]
    assert found.probability != pytest.approx(plain.probability, abs=1e-3)
    assert found.interval == run.calibration.interval(found.logit)
    held = run.calibration.conformal.sets(found.probability)
    assert found.labels == tuple(np.array(["control", "patient"])[held])
    assert (found.coverage, found.calibrated_on) == (0.9, 12)
    assert found.in_words == run.calibration.conformal.in_words(found.probability, ("control", "patient"))
    assert found.novelty is not None
    assert found.novelty.mismatches == found.warnings == ()  # of a training scan, under no name
    assert {row.says for row in found.acquisition} >= {"repetition time", "voxel edge along x", "site"}
    assert not any(row.outside for row in found.acquisition)
    told = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert told["interval"]["low"] <= told["probability"] <= told["interval"]["high"]


def test_a_scan_unlike_those_of_training_is_told(whole: Path, files: Files) -> None:
    rewrite(files.bold, frames=40)
    lines = files.confounds.read_text().splitlines()
    files.confounds.write_text("\n".join(lines[:41]) + "\n")
    found = predict(load_run(whole, "cpu"), files.bold, mask=files.mask, confounds=files.confounds)
    assert "frames 40; training runs had 48" in found.warnings
    (row,) = (row for row in found.acquisition if row.outside)
    assert (row.says, row.here, row.training) == ("frames", "40", "48")


def test_noise_in_place_of_a_brain_is_far_out(whole: Path, files: Files) -> None:
    image = nib.load(files.bold)
    noise = np.random.default_rng(0).normal(1000, 50, image.shape).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, image.affine, image.header), files.bold)
    found = predict(load_run(whole, "cpu"), files.bold, mask=files.mask, confounds=files.confounds)
    assert found.novelty is not None
    assert found.novelty.far
    assert any(warning.startswith("the scan looks unlike those of training") for warning in found.warnings)


def test_a_damaged_calibration_is_no_uncalibrated_run(whole: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(whole, tmp_path / "copy")
    (copy / "calibration.json").write_text("{")
    with pytest.raises(BadFileError, match="run must be a folder that `neuro train` wrote"):
        load_run(copy, "cpu")


def test_the_digest_is_of_what_a_prediction_hangs_on(whole: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(whole, tmp_path / "copy")
    (copy / "history.csv").write_text("of no account")
    digest = load_run(whole, "cpu").digest
    assert load_run(copy, "cpu").digest == digest
    (copy / "novelty.json").unlink()
    assert load_run(copy, "cpu").digest != digest


def test_a_folder_holds_page_map_and_regions(whole: Path, files: Files, tmp_path: Path) -> None:
    run, out = load_run(whole, "cpu"), tmp_path / "out"
    found = predict(run, files.bold, mask=files.mask, confounds=files.confounds, out=out)
    assert {path.name for path in out.iterdir()} == {
        "prediction.html",
        "prediction.json",
        "regions.tsv",
        "relevance.nii.gz",
    }
    told = json.loads((out / "prediction.json").read_text())
    assert told == json.loads(json.dumps(found.as_json())) | {"method": "integrated-gradients", "no_map": ""}
    image, bold = nib.load(out / "relevance.nii.gz"), nib.load(files.bold)
    assert image.shape == bold.shape[:3]
    np.testing.assert_array_equal(image.affine, bold.affine)
    strongest = pd.read_csv(out / "regions.tsv", sep="\t")["region"][0]
    page = (out / "prediction.html").read_text()
    assert found.interval is not None
    for wanted in (
        "For research, not for diagnosis.",
        f"95 % interval {found.interval.low:.2f} to {found.interval.high:.2f}, calibrated on 12 people",
        found.in_words[1:],
        found.recipe_identity,
        run.digest,
        strongest,
        "Nothing was found. That is no seal of quality",
        "How far the embedding of this scan lies out",
    ):
        assert wanted in page
    assert page.count('src="data:') == page.count("src=") == 3
    assert "http" not in page.replace(run.digest, "")


def test_a_folder_appears_whole_or_not_at_all(
    trained: TrainedRun, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    place.mkdir()

    def into(name: str, **more: Any) -> None:
        predict(trained, files.bold, mask=files.mask, confounds=files.confounds, out=place / name, **more)

    with pytest.raises(UnknownNameError, match=r"method must be one of integrated-gradients, .*got votse"):
        into("new", method="votse")
    with monkeypatch.context() as patch:
        patch.setattr("neuro.prediction.folder.glass_brain", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            into("new")
    assert list(place.iterdir()) == []
    (place / "full").mkdir()
    (place / "full" / "notes.txt").write_text("mine")
    files.mask.unlink()  # it is not even looked for
    with pytest.raises(ParameterError, match="folder to write must be new or empty"):
        into("full")
    assert [path.name for path in (place / "full").iterdir()] == ["notes.txt"]


def test_where_there_can_be_no_map_the_page_says_why(
    trained: TrainedRun, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise ParameterError("readout", must_be="one that votes", got="another")

    monkeypatch.setattr("neuro.prediction.folder.explain_run", refused)
    predict(trained, files.bold, mask=files.mask, confounds=files.confounds, out=tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"prediction.html", "prediction.json"}
    page = (tmp_path / "out" / "prediction.html").read_text()
    assert "No map: readout must be one that votes, got another" in page
    assert "Uncalibrated: the model was trained without calibration" in page
    assert "Not known: the model's folder does not tell" in page


def test_the_command_tells_the_interval_and_writes_the_folder(
    run_command: Any, whole: Path, files: Files, tmp_path: Path
) -> None:
    given = (whole, files.bold, "--mask", files.mask, "--confounds", files.confounds, "--device", "cpu")
    done = run_command(main, "neuro", "predict", *given, "--out", tmp_path / "out", "--method", "votes")
    assert done.code == 0, done.err
    said, words, page, research = done.out.splitlines()
    told = json.loads((tmp_path / "out" / "prediction.json").read_text())
    low, high = told["interval"]["low"], told["interval"]["high"]
    assert f"probability {told['probability']:.3f} [{low:.3f}, {high:.3f}]" in said
    assert said.endswith("(mean of 2 clips, calibrated on 12 people)")
    assert words == told["in_words"] + "."
    assert page == f"page: {tmp_path / 'out' / 'prediction.html'}"
    assert research == "For research, not for diagnosis."
    assert told["method"] == "votes"
    as_json = run_command(main, "neuro", "predict", *given, "--json")
    assert json.loads(as_json.out) == {k: v for k, v in told.items() if k not in ("method", "no_map")}
