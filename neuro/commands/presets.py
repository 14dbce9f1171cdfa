"""`neuro presets`: what recipes there are, or all of one."""

from __future__ import annotations

from typing import Annotated

import typer

from neuro.commands.options import Changes, chosen_preset


def presets(
    name: Annotated[str | None, typer.Argument(help="Show all options of this one.")] = None,
    changes: Changes = None,
) -> None:
    """List the recipes of `neuro train`, or all options of one as TOML, to begin one's own with."""
    from neuro.presets import load_preset, preset_names
    from neuro.presets.as_toml import as_toml

    if name is not None:
        print(as_toml(chosen_preset(name, changes)), end="")
        return
    for known in preset_names():
        print(f"{known:<10} {load_preset(known).description}")
