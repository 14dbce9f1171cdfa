"""The `neuro` command: a thin shell over the package; heavy imports wait until they are needed."""

from __future__ import annotations

import typer

from data import command_line
from neuro.commands.align import align
from neuro.commands.demo import demo
from neuro.commands.evaluate import evaluate
from neuro.commands.export import export
from neuro.commands.leak_demo import leak_demo
from neuro.commands.predict import predict
from neuro.commands.prepare import prepare
from neuro.commands.presets import presets
from neuro.commands.pretrain import pretrain
from neuro.commands.qc import qc
from neuro.commands.report import report
from neuro.commands.scaling import scaling
from neuro.commands.simulate import simulate
from neuro.commands.train import train
from neuro.commands.update import update

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
    report,
    train,
    update,
    pretrain,
    align,
    scaling,
    presets,
    predict,
    export,
    leak_demo,
    demo,
):
    app.command(command.__name__.replace("_", "-"))(command)


def main() -> None:
    """Entry point of the console command."""
    command_line.run(app)


if __name__ == "__main__":
    main()
