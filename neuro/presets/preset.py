"""A whole recipe for a training: how runs are cut, what the model is, how it is trained."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from data.errors import BadFileError, ParameterError, UnknownNameError, nearest
from neuro.model.config import ModelConfig
from neuro.options_from import options_from
from neuro.tokens import TokenSpec, TubeletSpec, spec_from
from neuro.training.config import TrainingConfig

DEFAULT_PRESET = "small"
SECTIONS = ("tokens", "model", "training")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A recipe.

    Attributes:
        name: of the recipe, or the path that it was read from.
        description: what it is for, in a line.
        tokens: how runs are cut.
        model: what the Transformer is like.
        training: how it is trained.
    """

    name: str = DEFAULT_PRESET
    description: str = ""
    tokens: TokenSpec = field(default_factory=TubeletSpec)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


def preset_names() -> list[str]:
    """The recipes that come with the package, the default first."""
    found = sorted(file.name.removesuffix(".toml") for file in _folder() if file.name.endswith(".toml"))
    return sorted(found, key=lambda name: name != DEFAULT_PRESET)


def load_preset(
    name: str | Path = DEFAULT_PRESET,
    changes: Sequence[str] = (),
    *,
    start: Mapping[str, Mapping[str, Any]] | None = None,
) -> Preset:
    """A recipe by name, or from a TOML file of one's own, with some of its options set to other values.

    Args:
        name: one of `preset_names`, or the path of a file, which ends in .toml.
        changes: "section.key=value", in order; the value as in TOML, a bare word, or none.
        start: whole sections that stand instead of the recipe's own, before any change: tokens and model of
            an encoder that the training begins with.

    Raises:
        UnknownNameError: no such recipe, section or option.
        ParameterError: a change of another form, or a value that cannot work.
        BadFileError: the file cannot be read, or is no TOML.
    """
    content = _content(str(name)) | {section: dict(given) for section, given in (start or {}).items()}
    for change in changes:
        _set(content, change)
    for section in content:
        if section not in (*SECTIONS, "description"):
            choices = f"one of {', '.join(SECTIONS)}"
            raise UnknownNameError("section", must_be=choices, got=section, do=nearest(section, SECTIONS))
    tokens = content.get("tokens", {})
    if not isinstance(tokens, Mapping):
        raise ParameterError("tokens", must_be="a table", got=repr(tokens))
    return Preset(
        name=str(name),
        description=str(content.get("description", "")),
        tokens=spec_from({"kind": TubeletSpec.kind, **tokens}),
        model=options_from(ModelConfig, content.get("model", {}), "model"),
        training=options_from(TrainingConfig, content.get("training", {}), "training"),
    )


def _folder() -> Any:
    return files("neuro.presets").iterdir()


def _content(name: str) -> dict[str, Any]:
    if name.endswith(".toml"):
        path = Path(name)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadFileError("preset", must_be="readable", got=str(error), path=path) from error
    elif name in preset_names():
        path = Path(f"{name}.toml")
        text = (files("neuro.presets") / path.name).read_text(encoding="utf-8")
    else:
        names = preset_names()
        choices = f"one of {', '.join(names)}, or a file that ends in .toml"
        raise UnknownNameError("preset", must_be=choices, got=name, do=nearest(name, names))
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadFileError("preset", must_be="TOML", got=str(error), path=path) from error


def _set(content: dict[str, Any], change: str) -> None:
    """Put one change into a recipe's content."""
    key, equals, text = change.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or len(path) < 2 or not all(path):
        do = "for example training.epochs=20"
        raise ParameterError("--set", must_be="section.key=value", got=change, do=do)
    value = parsed(text.strip())
    if path == ["tokens", "kind"] and content.get("tokens", {}).get("kind") != value:
        content["tokens"] = {}  # another kind has other options
    table = content
    for part in path[:-1]:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ParameterError("--set", must_be=f"an option: {part} has none within it", got=change)
        table = inner
    table[path[-1]] = value


def parsed(text: str) -> Any:
    """A value as TOML has it; a bare word is itself, and none is nothing."""
    if text == "none":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
