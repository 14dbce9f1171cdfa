"""`neuro scaling`: how the loss of masked pretraining falls with the model and the cohort, and how far on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from neuro.commands.options import CacheFolder, Changes, Device, Out, PresetName, Seed, chosen_preset
from neuro.defaults import PRESETS

if TYPE_CHECKING:
    from neuro.scaling.grid import Cell, Size

SIZES, SHARES = "32x2,64x3,96x4,160x6", "0.125,0.25,0.5,1"


def scaling(
    cache: CacheFolder,
    out: Out,
    preset: PresetName = PRESETS[0],
    changes: Changes = None,
    sizes: Annotated[str, typer.Option(help="Widths and depths of the encoder, three or more.")] = SIZES,
    shares: Annotated[str, typer.Option(help="Shares of the people, three or more.")] = SHARES,
    repeats: Annotated[int, typer.Option(help="Trainings of each, with seeds of their own.")] = 3,
    passes: Annotated[int, typer.Option(help="Over the runs of the people that a training sees.")] = 20,
    reach: Annotated[float, typer.Option(help="Extrapolate to so many times the largest compute.")] = 10,
    mask_ratio: Annotated[float, typer.Option(help="Share of the places that are hidden.")] = 0.75,
    held_out: Annotated[
        float, typer.Option(help="Share of the people that every loss is measured on.")
    ] = 0.2,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Fit a scaling law to small masked pretrainings, and extrapolate it with an interval.

    Called again on the same folder, it goes on where it was broken off.
    """
    from neuro.console import progress_bars
    from neuro.pretrain.config import PretrainConfig
    from neuro.pretrain.masking import MaskConfig
    from neuro.pretrain.pools import open_pool
    from neuro.scaling.grid import ScalingPlan
    from neuro.scaling.masked_cells import MaskedCells
    from neuro.scaling.run import scale

    plan = ScalingPlan(
        sizes=tuple(_size(text) for text in sizes.split(",")),
        shares=tuple(_number("--shares", text) for text in shares.split(",")),
        seeds=tuple(range(seed, seed + repeats)),
        passes=passes,
        reach=reach,
    )
    chosen = chosen_preset(preset, changes)
    config = PretrainConfig(
        mask=MaskConfig(ratio=mask_ratio),
        training=chosen.training,
        held_out=held_out,
        seed=seed,
        device=device,
    )
    cells = MaskedCells(
        pool=open_pool(cache, chosen.tokens, device=device), model=chosen.model, config=config
    )
    with progress_bars() as bars:
        bar = bars.add_task("Trainings", total=len(plan.cells()))

        def on_cell(cell: Cell, done: int, total: int) -> None:
            told = f"Encoder {cell.size}, {cell.share:g} of the people, seed {cell.seed}"
            bars.update(bar, completed=done, total=total, description=told)

        scale(plan, cells, out, setting=cells.setting, on_cell=on_cell)
    print((out / "scaling.md").read_text(encoding="utf-8"))


def _size(text: str) -> Size:
    """ "64x3" -> width 64, depth 3."""
    from data.errors import ParameterError
    from neuro.scaling.grid import Size

    width, _, depth = text.partition("x")
    if not (width.strip().isdecimal() and depth.strip().isdecimal()):
        raise ParameterError("--sizes", must_be="widths and depths as 32x2,64x3,96x4", got=repr(text))
    return Size(width=int(width), depth=int(depth))


def _number(option: str, text: str) -> float:
    from data.errors import ParameterError

    try:
        return float(text)
    except ValueError as error:
        raise ParameterError(option, must_be="numbers as 0.25,0.5,1", got=repr(text)) from error
