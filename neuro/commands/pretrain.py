"""`neuro pretrain`: teach an encoder what brains do, without labels, for `neuro train --init-from`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuro.commands.options import (
    BackboneName,
    Changes,
    Device,
    Epochs,
    InitFrom,
    Out,
    PresetName,
    Resume,
    Seed,
    chosen_preset,
)
from neuro.defaults import PRESETS

if TYPE_CHECKING:
    from neuro.pretrain.run import Plan


def pretrain(
    caches: Annotated[list[Path], typer.Argument(metavar="CACHE...", help="What `neuro prepare` wrote.")],
    out: Out,
    preset: PresetName = PRESETS[0],
    changes: Changes = None,
    objective: Annotated[
        str, typer.Option(help="masked: guess hidden places; contrastive: know two clips of a person.")
    ] = "masked",
    weights: Annotated[
        str | None,
        typer.Option(
            help="Shares of the caches, as 1,2; auto finds them by small trials. By size otherwise."
        ),
    ] = None,
    then: Annotated[
        Path | None, typer.Option(metavar="CACHE", help="Cohort of interest, for a second phase.")
    ] = None,
    mask_ratio: Annotated[float, typer.Option(help="Share of the places that are hidden.")] = 0.75,
    mask_blocks: Annotated[
        float | None, typer.Option(metavar="MM", help="Hide balls of this diameter, not single places.")
    ] = None,
    amplitude_weight: Annotated[
        float, typer.Option(help="Weight of the error in amplitude beside that in signal.")
    ] = 1.0,
    held_out: Annotated[
        float, typer.Option(help="Share of the people of each cohort that the loss is measured on.")
    ] = 0.1,
    init_from: InitFrom = None,
    resume: Resume = False,
    backbone: BackboneName = None,
    epochs: Epochs = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Pretrain an encoder without labels, on one cohort or on several, for `neuro train --init-from`.

    With several processes: torchrun --nproc-per-node 4 -m neuro pretrain …
    """
    from neuro.pretrain.config import PretrainConfig
    from neuro.pretrain.masked import MaskedConfig
    from neuro.pretrain.masking import MaskConfig
    from neuro.pretrain.run import Plan
    from vision.training.ranks import own_device

    chosen = chosen_preset(preset, changes, backbone=backbone, epochs=epochs)
    config = PretrainConfig(
        objective=objective,  # type: ignore[arg-type]
        mask=MaskConfig(ratio=mask_ratio, block_mm=mask_blocks),
        masked=MaskedConfig(amplitude_weight=amplitude_weight),
        training=chosen.training,
        held_out=held_out,
        seed=seed,
        device=own_device(device),
    )
    plan = Plan(
        caches=caches,
        weights=_weights(weights),
        then=then,
        tokens=chosen.tokens,
        model=chosen.model,
        init_from=init_from,
        config=config,
    )
    _run(plan, out, resume=resume)


def _run(plan: Plan, out: Path, *, resume: bool) -> None:
    from neuro.commands.training_bar import training_bar
    from neuro.pretrain.run import pretrain as run
    from vision.training.ranks import is_first

    def on_trial(name: str, done: int, total: int) -> None:
        if is_first():
            print(f"trying blend {done + 1} of {total}: {name}", file=sys.stderr)

    command = shlex.join(["neuro", *sys.argv[1:]])
    with training_bar() as listeners:
        facts = run(plan, out, resume=resume, command=command, listeners=listeners, on_trial=on_trial)
    if is_first():
        _tell(facts, out)


def _tell(facts: dict[str, Any], out: Path) -> None:
    for number, phase in enumerate(facts["phases"], 1):
        total = sum(phase["weights"])
        shares = ", ".join(
            f"{Path(name).name} {weight / total:.0%}"
            for name, weight in zip(phase["cohorts"], phase["weights"], strict=True)
        )
        print(
            f"phase {number} ({shares}): loss of held-out people {phase['held_out_loss_before']:.3f} before, "
            f"{phase['held_out_loss']:.3f} after (epoch {phase['best_epoch']})"
        )
    print(f"encoder: {out / 'encoder'}; train with `neuro train CACHE --init-from {out}`")


def _weights(text: str | None) -> Any:
    """ "1,2" -> [1.0, 2.0]; "auto" and None stay.

    Raises:
        ParameterError: anything else.
    """
    from data.errors import ParameterError

    if text is None or text == "auto":
        return text
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ParameterError("--weights", must_be="numbers as 1,2, or auto", got=repr(text)) from error
