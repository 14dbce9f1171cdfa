"""How every command of the project ends: what is printed where, and with which exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable

from data.errors import ChiasmError

BAD_INPUT, BROKEN_PIPE, INTERRUPTED = 2, 1, 130


def run(app: Callable[[], object]) -> None:
    """Run a command line and end the process as a well-behaved command does.

    A `ChiasmError` becomes one line `error: …` on standard error and exit code 2 (that of a mistyped option,
    too); Ctrl-C ends with 130; a reader that went away (`vision search … | head -1`) ends it silently with 1.
    Anything else is a bug and keeps its traceback.

    Args:
        app: a `typer.Typer` application, or any callable that reads `sys.argv` itself.

    Raises:
        SystemExit: always with the exit code, unless `app` returned by itself.
    """
    _tolerate_odd_names()
    try:
        app()
        sys.stdout.flush()
    except ChiasmError as error:
        # A file name may hold a line break: the message stays one line all the same.
        print("error: " + "\\n".join(str(error).splitlines()), file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        _silence_stdout()
        raise SystemExit(BROKEN_PIPE) from None


def _tolerate_odd_names() -> None:
    """Let a file name that is no valid text, or that the terminal cannot show, be printed escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _silence_stdout() -> None:
    # Python flushes standard output once more while it shuts down, and would complain there.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
