"""Prepare a cohort in child processes that are killed (SIGKILL) at one write after the other, then go on.

Run as a script by test_cache_interrupted.py: arguments are the derivative, an atlas, a folder to work in, and
how many writes lie between two deaths. Prints how many deaths there were, and how many left some runs
finished.
"""

import os
import shutil
import signal
import sys
import threading
from pathlib import Path

from data.caches.cache import Cache, prepare
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort
from data.errors import BadFileError

DERIVATIVE, ATLAS, WORK = map(Path, sys.argv[1:4])
STEP = int(sys.argv[4])
RECIPE = Recipe(confounds="6p", precision="int8")
OUT = WORK / "cache"


def files(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def make(out):
    prepare(Cohort.from_derivatives(DERIVATIVE), RECIPE, out, progress=False, atlases=[ATLAS])


def die_at(write):
    """Kill this process before its `write`th opening for writing or renaming under OUT."""
    count = 0

    def watch(event, arguments):
        nonlocal count
        opened = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if (opened or event in ("os.rename", "os.mkdir")) and str(OUT) in str(arguments[0]):
            count += 1
            if count == write:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def in_a_fork(work):
    """Run it in a fork of this process; the signal that ended it, or 0."""
    assert threading.active_count() == 1
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"a child ended with {os.WEXITSTATUS(status)}")
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


make(WORK / "whole")
wanted = files(WORK / "whole")
deaths = midway = 0
for write in range(1, 10_000, STEP):

    def prepare_and_die(write=write):
        die_at(write)
        make(OUT)

    if in_a_fork(prepare_and_die) != signal.SIGKILL:
        break
    deaths += 1
    finished = {
        path.parent.name for path in OUT.glob("runs/*/run.json") if not path.parent.name.startswith(".")
    }
    midway += 0 < len(finished) < 4
    stamps = {name: (OUT / "runs" / name / "series.npy").stat().st_mtime_ns for name in finished}
    if OUT.exists() and not (OUT / "cohort.tsv").exists():
        try:
            Cache.open(OUT)
        except BadFileError:
            pass
        else:
            raise SystemExit(f"killed at write {write}, an unfinished cache opened")
    in_a_fork(lambda: make(OUT))
    assert files(OUT) == wanted, f"killed at write {write}"
    assert not list(OUT.rglob(".*")), f"killed at write {write}"
    again = [
        name for name in finished if (OUT / "runs" / name / "series.npy").stat().st_mtime_ns != stamps[name]
    ]
    assert not again, f"killed at write {write}, {again} was made twice"
    shutil.rmtree(OUT)
print(deaths, midway)
