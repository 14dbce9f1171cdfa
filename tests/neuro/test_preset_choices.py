"""Settings that inner folds choose among, as a command line names them."""

import pytest

from data.errors import ParameterError, UnknownNameError
from neuro.classifier import ParkinsonClassifier
from neuro.presets import load_preset
from neuro.presets.choices import grid_of


def test_nothing_to_choose_is_one_setting() -> None:
    assert grid_of([]) == ({},)


def test_choices_are_combined_in_order() -> None:
    grid = grid_of(["training.adaptation.svm_c=1,100", "training.epochs=2, 3"])
    assert grid == (
        {"training__adaptation__svm_c": 1, "training__epochs": 2},
        {"training__adaptation__svm_c": 1, "training__epochs": 3},
        {"training__adaptation__svm_c": 100, "training__epochs": 2},
        {"training__adaptation__svm_c": 100, "training__epochs": 3},
    )


def test_values_are_toml_or_bare_words() -> None:
    (one, other) = grid_of(["training.adaptation.method=svm,linear"])
    assert (one["training__adaptation__method"], other["training__adaptation__method"]) == ("svm", "linear")
    assert [value for grid in grid_of(["model.x=none,true,1e-3"]) for value in grid.values()] == [
        None,
        True,
        1e-3,
    ]


def test_a_classifier_takes_them() -> None:
    for settings in grid_of(["training.adaptation.svm_c=1.0,100.0"]):
        taken = ParkinsonClassifier().set_params(**settings)
        assert taken.training.adaptation.svm_c == settings["training__adaptation__svm_c"]
    with pytest.raises(UnknownNameError, match="svm_cc"):
        ParkinsonClassifier().set_params(**grid_of(["training.adaptation.svm_cc=1,2"])[0])


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        (["training.epochs"], "must be section.key=value,value"),
        (["epochs=1,2"], "must be section.key=value,value"),
        (["tokens.frames=1,2"], "of model or training"),
        (["training.epochs=3"], "two values or more"),
        (["training.epochs=1,2", "training.epochs=3,4"], "two of training.epochs"),
    ],
)
def test_another_form_is_told(choices: list[str], told: str) -> None:
    with pytest.raises(ParameterError, match=told):
        grid_of(choices)


@pytest.mark.parametrize(
    ("choice", "told"),
    [("training.epochz=1,2", "did you mean epochs"), ("training.epochs=2,many", "epochs must be")],
)
def test_what_a_recipe_does_not_take_is_told_before_any_fold(choice: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        grid_of([choice], lambda changes: load_preset("places", changes))
