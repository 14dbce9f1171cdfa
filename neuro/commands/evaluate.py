"""`neuro evaluate`: the Transformer beside its rivals, by person, and a report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from neuro.commands.options import (
    BackboneName,
    CacheFolder,
    Changes,
    Device,
    Epochs,
    InitFrom,
    Out,
    PresetName,
    Seed,
    chosen_preset,
    study_config,
)
from neuro.defaults import FOLDS, INNER, PRESETS, REPEATS


def evaluate(
    cache: CacheFolder,
    out: Out,
    preset: PresetName = PRESETS[0],
    changes: Changes = None,
    choose: Annotated[
        list[str] | None,
        typer.Option(help="Values that inner folds choose among: section.key=value,value. Repeatable."),
    ] = None,
    init_from: InitFrom = None,
    backbone: BackboneName = None,
    epochs: Epochs = None,
    atlas: Annotated[
        str | None, typer.Option(help="Atlas of the cache whose regions the Transformer sees, as parcels.")
    ] = None,
    slices: Annotated[
        str | None, typer.Option(help="Also let this model look at slices, frozen, e.g. embedded:lite.")
    ] = None,
    folds: Annotated[int, typer.Option(help="Folds, by person.")] = FOLDS,
    repeats: Annotated[int, typer.Option(help="How often people are dealt into folds anew.")] = REPEATS,
    inner: Annotated[int, typer.Option(help="Inner folds: settings, threshold, calibration.")] = INNER,
    tangent: Annotated[bool, typer.Option(help="Let tangent-space connectivity take part.")] = True,
    splits: Annotated[
        Path | None, typer.Option(help="splits.json of an earlier evaluation, instead of new folds.")
    ] = None,
    permutations: Annotated[
        int, typer.Option(help="Run the Transformer's whole pipeline on so many permuted labels; 39 or more.")
    ] = 0,
    permutation_minutes: Annotated[
        float | None, typer.Option(help="Begin no permutation after so long.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    truth: Annotated[
        Path | None, typer.Option(help="Mask of a planted effect, to outline on the map.")
    ] = None,
) -> None:
    """Cross-validate by person, beside connectivity + SVM and the majority, and write report.html."""
    from rich.console import Console

    from data.caches.cache import Cache
    from neuro.conduct import Occasion, conduct
    from neuro.console import show_results
    from neuro.presets.choices import grid_of
    from neuro.protocol.plan import PlanConfig

    def recipe(also: Sequence[str] = ()) -> Any:
        given = [*(changes or ()), *also]
        return chosen_preset(preset, given, backbone=backbone, epochs=epochs, init_from=init_from)

    config = study_config(
        recipe(),
        grid=grid_of(choose or (), recipe),
        atlas=atlas,
        init_from=str(init_from) if init_from is not None else None,
        slice_backbone=slices,
        tangent=tangent,
        plan=PlanConfig(folds=folds, repeats=repeats, inner=inner, seed=seed),
        permutations=permutations,
        permutation_minutes=permutation_minutes,
        seed=seed,
        device=device,
    )
    command = shlex.join(["neuro", *sys.argv[1:]])
    occasion = Occasion(command=command, planted=truth, splits=splits)
    study = conduct(Cache.open(cache), config, out, occasion)
    show_results(study.reading, Console())
    print(f"report: {out / 'report.html'}")
