"""What open_clip knows, without importing open_clip: architectures, tags, class names.

`import open_clip` takes seconds, and these are data: JSON files and two modules that need nothing heavy. They
are loaded under an alias of their own, so that a later `import open_clip` finds nothing half-made.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from data.errors import MissingDependencyError

_ALIAS = "_open_clip_data_only"


@cache
def architecture_names() -> tuple[str, ...]:
    """Names of all architectures that open_clip can build."""
    return tuple(sorted(path.stem for path in _configs().glob("*.json")))


def architecture(name: str) -> dict[str, Any]:
    """A fresh copy of the description of an architecture; KeyError where there is none of that name."""
    if name not in architecture_names():
        raise KeyError(name)
    config: dict[str, Any] = json.loads((_configs() / f"{name}.json").read_text(encoding="utf-8"))
    return config


@cache
def tagged_names() -> tuple[str, ...]:
    """All "ARCH/TAG" that have published weights."""
    return tuple(f"{arch}/{tag}" for arch, tag in _module("pretrained").list_pretrained())


def tag_config(arch: str, tag: str) -> dict[str, Any]:
    """Where a tag's weights are and how pictures are prepared for them; empty where there is no such tag."""
    return dict(_module("pretrained").get_pretrained_cfg(arch, tag))


@cache
def imagenet_class_names() -> tuple[str, ...]:
    """Readable names of the 1000 ImageNet classes, in the order of their synsets."""
    return tuple(_module("zero_shot_metadata").IMAGENET_CLASSNAMES)


@cache
def prompt_templates(kind: str) -> tuple[str, ...]:
    """Sentences with {} where the class name goes: "imagenet", OpenAI's 80, or "simple", 7 of them."""
    sets = {"imagenet": "OPENAI_IMAGENET_TEMPLATES", "simple": "SIMPLE_IMAGENET_TEMPLATES"}
    return tuple(template("{}") for template in getattr(_module("zero_shot_metadata"), sets[kind]))


def _root() -> Path:
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            "open_clip",
            must_be="installed",
            got="nothing of that name",
            do="run `pip install open_clip_torch`",
        )
    return Path(spec.submodule_search_locations[0])


def _configs() -> Path:
    return _root() / "model_configs"


def _module(name: str) -> ModuleType:
    if _ALIAS not in sys.modules:
        package = ModuleType(_ALIAS)
        package.__path__ = [str(_root())]
        sys.modules[_ALIAS] = package
    return importlib.import_module(f"{_ALIAS}.{name}")
