"""The shared ending of both commands, in real processes where the process's end is the point."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from data.command_line import run
from data.errors import BadFileError, ParameterError

PROGRAM = """
import sys, time, typer
from data.command_line import run
app = typer.Typer()
@app.command()
def talk(lines: int = 1):
    for number in range(lines):
        print(number, "\\udcff" if lines == 1 else "")
@app.command()
def wait():
    print("ready", flush=True)
    time.sleep(60)
run(app)
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_bad_input_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def app() -> None:
        raise ParameterError("--k", must_be="a positive integer", got=0)

    with pytest.raises(SystemExit) as ending:
        run(app)
    assert ending.value.code == 2
    assert capsys.readouterr() == ("", "error: --k must be a positive integer, got 0.\n")


def test_a_line_break_in_a_file_name_keeps_the_error_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def app() -> None:
        raise BadFileError("picture", must_be="readable", got="nothing", path="two\nlines.jpg")

    with pytest.raises(SystemExit):
        run(app)
    assert capsys.readouterr().err == "error: two\\nlines.jpg: picture must be readable, got nothing.\n"


def test_a_bug_keeps_its_traceback() -> None:
    def app() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(app)


def test_ctrl_c_ends_with_130() -> None:
    with start("wait") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors.strip()) == (130, "")


def test_a_reader_that_leaves_is_no_error() -> None:
    with start("talk", "--lines", "200000") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "0 \n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=20) == 1


def test_a_name_that_is_no_text_is_printed_escaped() -> None:
    output, errors = start("talk").communicate(timeout=20)
    assert (output, errors) == ("0 \\udcff\n", "")


def test_an_unknown_option_is_exit_code_2() -> None:
    process = start("talk", "--colour")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "--colour" in errors
