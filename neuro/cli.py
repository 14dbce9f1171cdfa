"""The `neuro` command: a thin shell over the package; heavy imports wait until they are needed."""

from __future__ import annotations

import typer

from data import command_line
from neuro.commands.demo import demo
from neuro.commands.evaluate import evaluate
from neuro.commands.export import export
from neuro.commands.predict import predict
from neuro.commands.prepare import prepare
from neuro.commands.presets import presets
from neuro.commands.pretrain import pretrain
from neuro.commands.qc import qc
from neuro.commands.scaling import scaling
from neuro.commands.simulate import simulate
from neuro.commands.train import train

app = typer.Typer(
    help="Brain scans as token sequences. For research, not for diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (
    simulate,
    prepare,
    qc,
    evaluate,
    train,
    pretrain,
    scaling,
    presets,
    predict,
    export,
    demo,
):
    app.command()(command)


def main() -> None:
    """Entry point of the console command."""
    command_line.run(app)


if __name__ == "__main__":
    main()
