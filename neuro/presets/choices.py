"""What inner folds choose among: "training.adaptation.svm_c=1,100" -> settings of the classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from data.errors import ParameterError
from neuro.presets.preset import parsed

OPTION = "--choose"
SECTIONS = ("model", "training")  # tokens are cut once, before any fold
EXAMPLE = "for example training.adaptation.svm_c=1,100"


def grid_of(
    choices: Sequence[str], load: Callable[[list[str]], object] = lambda _: None
) -> tuple[dict[str, Any], ...]:
    """Every combination of the values that choices name, as `set_params` of the classifier takes them.

    Args:
        choices: "section.key=value,value", each value as in TOML, a bare word, or none.
        load: a recipe with "section.key=value" changed, which refuses what it has not or cannot be.

    Raises:
        ParameterError: a choice of another form, between fewer than two values, or named twice.
    """
    options = [_options(choice) for choice in choices]
    keys = [key for key, _ in options]
    for key in keys:
        if keys.count(key) > 1:
            raise ParameterError(OPTION, must_be="one for each option", got=f"two of {key}")
    combined = [dict(zip(keys, values, strict=True)) for values in product(*(texts for _, texts in options))]
    for one in combined:
        load([f"{key}={text}" for key, text in one.items()])
    return tuple({key.replace(".", "__"): parsed(text) for key, text in one.items()} for one in combined)


def _options(choice: str) -> tuple[str, list[str]]:
    key, equals, text = choice.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or len(path) < 2 or not all(path) or path[0] not in SECTIONS:
        must_be = f"section.key=value,value, of {' or '.join(SECTIONS)}"
        raise ParameterError(OPTION, must_be=must_be, got=choice, do=EXAMPLE)
    texts = [part.strip() for part in text.split(",")]
    if len(texts) < 2:
        raise ParameterError(OPTION, must_be="between two values or more", got=choice, do=EXAMPLE)
    return ".".join(path), texts
