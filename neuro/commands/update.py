"""`neuro update`: a new site comes in; the old ones must not get worse."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuro.commands.options import Changes, Device, Epochs, Out, Seed
from neuro.defaults import EWC_STRENGTH

if TYPE_CHECKING:
    from neuro.classifier.run_folder import TrainedRun
    from neuro.continual.config import UpdateConfig

REFUSED = 3  # of the exit codes: neither done nor a mistake in what was asked


def update(
    trained: Annotated[Path, typer.Argument(metavar="RUN", help="What `neuro train` (or this) wrote.")],
    add: Annotated[Path, typer.Option(help="Cache of the new site.")],
    out: Out,
    old: Annotated[
        list[Path] | None,
        typer.Option(help="Cache that RUN was trained on, where it is kept. Repeatable: all of them."),
    ] = None,
    check: Annotated[
        Path | None, typer.Option(help="Cache of people at the old sites whom RUN has not seen.")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="naive, replay, ewc, replay+ewc or cumulative, named beforehand; by default replay, or ewc"
            " where no old scans are given."
        ),
    ] = None,
    margin: Annotated[float, typer.Option(help="How much the AUC of an old site may fall.")] = 0.05,
    loss_margin: Annotated[
        float, typer.Option(help="How much the log loss of an old site may rise, in nats.")
    ] = 0.1,
    folds: Annotated[int, typer.Option(help="Folds by person, to measure it.")] = 4,
    memory: Annotated[
        int | None, typer.Option(help="Old runs that are replayed; all where it is left out.")
    ] = None,
    strength: Annotated[float, typer.Option(help="How strongly ewc holds on to old weights.")] = EWC_STRENGTH,
    alone: Annotated[
        bool, typer.Option("--alone", help="Try the chosen strategy only, not all side by side.")
    ] = False,
    changes: Changes = None,
    epochs: Epochs = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Learn a new site, and refuse the result (exit code 3) where an old site gets worse for it.

    Old sites are tested on people whom no training has seen: held out of --old, or those of --check.
    """
    from neuro.console import progress_bars
    from neuro.continual.config import STRATEGIES, Margins, known
    from neuro.continual.report import decision_lines
    from neuro.continual.update import Protocol, open_update

    chosen = None if strategy is None else known(strategy)
    opened = open_update(
        trained,
        add,
        out,
        old=old or (),
        check=check,
        config=lambda run: _config(run, changes, epochs, memory=memory, strength=strength, seed=seed),
        protocol=Protocol(
            margins=Margins(auc=margin, log_loss=loss_margin),
            folds=folds,
            strategies=() if alone else STRATEGIES,
        ),
        strategy=chosen,
        device=device,
    )
    with progress_bars() as bars:
        bar = bars.add_task("Update", total=None)

        def done(what: str, total: int) -> None:
            bars.update(bar, advance=1, total=total, description=f"Update, {what}")

        outcome = opened.run(out, done)
    for line in filter(None, decision_lines(outcome)):
        print(line.replace("**", ""))
    print(f"report: {out / 'update.md'}")
    if not outcome.decision().accepted:
        raise typer.Exit(REFUSED)


def _config(run: TrainedRun, changes: list[str] | None, epochs: int | None, **rest: Any) -> UpdateConfig:
    """The run's own training at a lower rate, with what the options say instead."""
    from dataclasses import asdict

    from data.errors import ParameterError
    from neuro.continual.config import UpdateConfig, training_of_update
    from neuro.presets import load_preset

    changes = [*(changes or ()), *([] if epochs is None else [f"training.epochs={epochs}"])]
    strange = [change for change in changes if not change.startswith("training.")]
    if strange:
        do = "how runs are cut and what the model is are the run's own"
        raise ParameterError("--set", must_be="of the training: training.key=value", got=strange[0], do=do)
    start = {"training": asdict(training_of_update(run.classifier.training))}
    return UpdateConfig(training=load_preset(changes=changes, start=start).training, **rest)
