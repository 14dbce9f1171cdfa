"""The folder of an evaluation: what is read back is what was written, or the folder is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from data.errors import BadFileError
from neuro.protocol.contender import Contender
from neuro.protocol.evaluation import Evaluation, evaluate
from neuro.protocol.permutation import PermutationTest
from neuro.protocol.plan import PlanConfig, draw_plan, load_plan
from neuro.protocol.predictions import Predictions
from neuro.protocol.results import (
    COHORT,
    PREDICTIONS,
    RESULTS,
    SPLITS,
    Results,
    load_results,
    results_of,
    write_results,
)
from neuro.protocol.roster import Roster

RUNS = 24
LABELS = np.arange(RUNS) % 2
TABLE = pd.DataFrame(
    {
        "run_id": [f"{i:03d}" for i in range(RUNS)],  # words, though they look like numbers
        "person": [f"{i:02d}" for i in range(RUNS)],
        "site": np.array(["NA", "01"], dtype=object)[np.arange(RUNS) // 2 % 2],  # a site may be called so
        "label": LABELS,
        "age": [np.nan, *(60 + np.arange(RUNS - 1) / 7)],
        "sex": ["n/a", ""] + ["F", "M"] * (RUNS // 2 - 1),
        "medication": "n/a",
        "bold": "/home/me/bold.nii.gz",
        "mask": "/home/me/mask.nii.gz",
        "confounds": "/home/me/confounds.tsv",
        "fd_mean": np.random.default_rng(0).lognormal(-2, 0.5, RUNS),
        "n_frames": 200,
    }
)
FACTS = {"recipe_identity": "x", "coverage": 0.9, "excluded": [["sub-9", "no mask"]], "command": "neuro é"}
PERMUTED = PermutationTest(observed=0.7, null=(1 / 3, 0.5, 0.1 + 0.2), p_value=0.25, asked=99, seconds=1.5)
FILES = [COHORT, PREDICTIONS, RESULTS, SPLITS]
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    """Two models, one with a choice; one fold of the first deal is left out, so some are not tested there."""
    roster = Roster(
        run_ids=TABLE["run_id"].to_numpy(object),
        labels=LABELS,
        people=TABLE["person"].to_numpy(object),
        sites=TABLE["site"].to_numpy(object),
    )
    plan = draw_plan(roster, PlanConfig(folds=3, repeats=2, inner=2))
    plan = replace(plan, within=[plan.within[0][:2], plan.within[1]])
    X = np.random.default_rng(1).normal(size=(RUNS, 3)) + 0.7 * LABELS[:, None]
    grid = [{"C": 0.01}, {"C": 1.0}]
    rivals = [
        Contender(name="NA", estimator=LogisticRegression(), X=X, note="a | note, with é", grid=grid),
        Contender(name="majority", estimator=DummyClassifier(), X=X, sees_scans=False),
    ]
    return evaluate(rivals, roster, plan)


@pytest.fixture(scope="module")
def results(evaluation: Evaluation) -> Results:
    return results_of(evaluation, TABLE, FACTS, PERMUTED)


@pytest.fixture
def folder(evaluation: Evaluation, results: Results, tmp_path: Path) -> Path:
    write_results(results, evaluation, tmp_path)
    return tmp_path


def same_predictions(one: Predictions, other: Predictions) -> None:
    for part in fields(Predictions):
        written, read = getattr(one, part.name), getattr(other, part.name)
        np.testing.assert_array_equal(read, written, err_msg=part.name)  # the very last digit, too
        if isinstance(written, np.ndarray):
            assert read.dtype == written.dtype, part.name


def test_everything_read_back_is_what_was_written(results: Results, folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == FILES
    read = load_results(folder)
    assert read.facts == FACTS
    assert read.permuted == PERMUTED  # to the last digit, each of them
    assert list(results.table) == [name for name in TABLE if name not in ("bold", "mask", "confounds")]
    pd.testing.assert_frame_equal(read.table, results.table, check_exact=True, check_dtype=False)
    assert [model.name for model in read.models] == ["NA", "majority"]
    for written, found in zip(results.models, read.models, strict=True):
        for name in ("note", "sees_scans", "budget", "chosen", "figures", "figures_across"):
            assert getattr(found, name) == getattr(written, name)
        assert written.across is not None
        assert found.across is not None
        same_predictions(written.within, found.within)
        same_predictions(written.across, found.across)
    assert (results.models[0].within.folds[0] == -1).any()  # some were not tested in a deal
    assert read.models[0].budget == 2
    assert read.ours.name == "NA"
    assert read.named("majority") is read.models[1]
    assert read.named("no such") is None


def test_results_are_those_of_the_evaluation(evaluation: Evaluation, results: Results) -> None:
    for outcome, model in zip(evaluation.outcomes, results.models, strict=True):
        assert (model.within, model.across) == (outcome.within, outcome.across)
        assert (model.figures, model.figures_across) == (outcome.figures, outcome.figures_across)
        assert len(model.chosen) == evaluation.plan.models
        assert model.sees_scans == outcome.contender.sees_scans


def test_results_json_can_be_read_by_anybody(results: Results, folder: Path) -> None:
    content = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    assert content["facts"] == FACTS
    first = content["models"][0]
    assert first["figures"]["auc"] == vars(results.ours.figures["auc"])
    assert set(first["chosen"][0]) == {"C"}


def test_sites_that_were_not_compared_are_none_when_read(evaluation: Evaluation, tmp_path: Path) -> None:
    plan = replace(evaluation.plan, across=[])
    rivals = [outcome.contender for outcome in evaluation.outcomes[1:]]
    alone = evaluate(rivals, evaluation.roster, plan)
    write_results(results_of(alone, TABLE, FACTS), alone, tmp_path)
    found = load_results(tmp_path)
    assert (found.ours.across, found.ours.figures_across) == (None, {})
    assert found.permuted is None


def test_the_folds_are_those_of_the_evaluation(evaluation: Evaluation, folder: Path) -> None:
    plan = load_plan(folder / SPLITS, evaluation.roster)
    assert plan.config == evaluation.plan.config
    assert [len(folds) for _, _, folds in plan.deals()] == [2, 3, 2]
    for (_, _, read), (_, _, written) in zip(plan.deals(), evaluation.plan.deals(), strict=True):
        for one, other in zip(read, written, strict=True):
            np.testing.assert_array_equal(one.test, other.test)
            np.testing.assert_array_equal(one.train, other.train)


def test_no_path_leaves_the_machine(folder: Path) -> None:
    for path in folder.iterdir():
        assert "/home/me" not in path.read_text(encoding="utf-8"), path.name
    assert "fd_mean" in (folder / COHORT).read_text(encoding="utf-8")


def test_a_folder_of_before_permutations_and_digests_is_read(results: Results, folder: Path) -> None:
    told(lambda content: [content.pop(name) for name in ("permuted", "sha256")])(folder)
    read = load_results(folder)
    assert read.permuted is None
    same_predictions(results.ours.within, read.ours.within)
    (folder / SPLITS).unlink()
    load_results(folder)


@pytest.mark.parametrize("name", [COHORT, PREDICTIONS, SPLITS])
def test_files_of_another_evaluation_are_refused(
    evaluation: Evaluation, results: Results, folder: Path, name: str
) -> None:
    """The same runs and models, with nothing else to tell one from the other."""
    other = folder / "other"
    other.mkdir()
    within = replace(results.ours.within, scores=-results.ours.within.scores)
    changed = replace(
        results,
        table=results.table.assign(age=70.0),
        models=[replace(results.ours, within=within), *results.models[1:]],
    )
    plan = replace(evaluation.plan, within=evaluation.plan.within[::-1])
    write_results(changed, replace(evaluation, plan=plan), other)
    load_results(other)
    (other / name).replace(folder / name)
    with pytest.raises(BadFileError, match=f"got a {name} that has changed, or is of another evaluation"):
        load_results(folder)


def cut(name: str, share: float) -> Damage:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return damage


def rewritten(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Damage:
    def damage(folder: Path) -> None:
        told(lambda content: content["sha256"].pop(name))(folder)  # so that the table itself is looked at
        table = pd.read_csv(folder / name, dtype=str, keep_default_na=False)
        change(table).to_csv(folder / name, index=False)

    return damage


def told(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(folder: Path) -> None:
        content = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        change(content)
        (folder / RESULTS).write_text(json.dumps(content), encoding="utf-8")

    return damage


DAMAGES: dict[str, Damage] = {
    **{f"no {name}": lambda folder, name=name: (folder / name).unlink() for name in FILES[:3]},
    **{f"empty {name}": cut(name, 0) for name in FILES[:3]},
    **{f"{name} cut short": cut(name, 0.5) for name in FILES[:3]},
    "binary cohort": lambda folder: (folder / COHORT).write_bytes(b"\xff\xfe\x00" * 50),
    "results are a list": lambda folder: (folder / RESULTS).write_text("[]"),
    "another format": told(lambda content: content.update(format=9)),
    "no facts": told(lambda content: content.pop("facts")),
    "models are words": told(lambda content: content.update(models=["a", "b"])),
    "figures are a list": told(lambda content: content["models"][0].update(figures=[1])),
    "a figure without its interval": told(lambda content: content["models"][0]["figures"]["auc"].pop("low")),
    "a model nobody tested": told(lambda content: content["models"][0].update(name="other")),
    "a run is missing in the cohort": rewritten(COHORT, lambda table: table.drop(columns="run_id")),
    "a run that was not in the cohort": rewritten(
        COHORT, lambda table: table.assign(run_id=["new", *table["run_id"][1:]])
    ),
    "permutations that gave nothing": told(lambda content: content["permuted"].update(null=[])),
    "permutations in words": told(lambda content: content["permuted"].update(null=["high"])),
    "permutations without a p": told(lambda content: content["permuted"].pop("p_value")),
    "digests are a list": told(lambda content: content.update(sha256=["a"])),
    "no score column": rewritten(PREDICTIONS, lambda rows: rows.drop(columns="score")),
    "a score that is no number": rewritten(PREDICTIONS, lambda rows: rows.assign(score="high")),
    "a row is missing": rewritten(PREDICTIONS, lambda rows: rows.drop(index=3)),
    "a row stands twice": rewritten(PREDICTIONS, lambda rows: pd.concat([rows, rows.iloc[:1]])),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_refused(folder: Path, name: str) -> None:
    DAMAGES[name](folder)
    with pytest.raises(BadFileError, match="evaluation must be a folder that `neuro evaluate` wrote") as told:
        load_results(folder)
    assert str(folder) in str(told.value)
    assert len(str(told.value).splitlines()) == 1


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no"):
        with pytest.raises(BadFileError, match="evaluation must be a folder that `neuro evaluate` wrote"):
            load_results(path)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", FILES)
def test_all_files_are_written_or_none(
    evaluation: Evaluation, results: Results, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The disk is full when one of them is written: the earlier evaluation stands as it was."""
    before, other = contents(folder), replace(results, table=results.table.assign(age=1.0))
    write, to_csv = Path.write_text, pd.DataFrame.to_csv

    def full(written: Callable[..., Any], path: Path, *rest: Any, **options: Any) -> Any:
        if Path(name).stem in Path(path).name:
            raise OSError("disk full")
        return written(*rest, **options)

    monkeypatch.setattr(
        Path, "write_text", lambda path, *rest, **options: full(write, path, path, *rest, **options)
    )
    monkeypatch.setattr(
        pd.DataFrame, "to_csv", lambda table, path, **options: full(to_csv, path, table, path, **options)
    )
    with pytest.raises(OSError, match="disk full"):
        write_results(replace(other, facts={"new": 1}), evaluation, folder)
    assert contents(folder) == before


def test_results_json_takes_its_place_last(
    evaluation: Evaluation, results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved, move = [], Path.replace

    def watched(path: Path, target: Path) -> Path:
        moved.append(Path(target).name)
        return move(path, target)

    monkeypatch.setattr(Path, "replace", watched)
    write_results(results, evaluation, tmp_path)
    assert [name for name in moved if name in FILES][-1] == RESULTS
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
