"""A recipe -> TOML that `load_preset` reads as the same one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from neuro.presets.preset import Preset
from neuro.tokens import spec_as_dict


def as_toml(preset: Preset) -> str:
    """All options of a recipe; what is none stands as a comment, as TOML has no word for it."""
    lines = [f"description = {json.dumps(preset.description)}", ""]
    for section, content in (
        ("tokens", spec_as_dict(preset.tokens)),
        ("model", asdict(preset.model)),
        ("training", asdict(preset.training)),
    ):
        lines += _table(section, content)
    return "\n".join(lines).rstrip() + "\n"


def _table(place: str, content: Mapping[str, Any]) -> list[str]:
    lines = [f"[{place}]"]
    lines += [_line(name, value) for name, value in content.items() if not isinstance(value, Mapping)]
    lines.append("")
    for name, value in content.items():
        if isinstance(value, Mapping):
            lines += _table(f"{place}.{name}", value)
    return lines


def _line(name: str, value: Any) -> str:
    # Numbers, words and truth values stand in JSON as in TOML.
    return f"# {name} = none" if value is None else f"{name} = {json.dumps(value)}"
