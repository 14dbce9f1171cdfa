"""The `vision` command: a thin shell over `vision.retrieval`; heavy imports wait until they are needed."""

from __future__ import annotations

import typer

from data import command_line
from vision.commands.classify import classify
from vision.commands.demo import demo
from vision.commands.duplicates import duplicates
from vision.commands.evaluate import evaluate
from vision.commands.explain import explain
from vision.commands.finetune import finetune
from vision.commands.index import index
from vision.commands.models import models
from vision.commands.optimize import optimize
from vision.commands.push import push
from vision.commands.reindex import reindex
from vision.commands.search import search
from vision.commands.serve import serve

app = typer.Typer(
    help="Search your photographs by what is in them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",  # which fills paragraphs, whatever the lines of a docstring
)
for command in (
    index,
    search,
    serve,
    classify,
    evaluate,
    finetune,
    explain,
    duplicates,
    optimize,
    push,
    reindex,
    models,
    demo,
):
    app.command()(command)


def main() -> None:
    """Entry point of the console command."""
    command_line.run(app)


if __name__ == "__main__":
    main()
