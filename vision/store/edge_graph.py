"""Building the graph of a Qdrant Edge shard, in a process of its own.

Qdrant Edge holds Python's global lock while it builds: in this process neither Ctrl-C nor a progress bar
would come through for minutes. A shard whose builder was killed opens as it was; what lies half built is
removed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

TICK_S = 0.5
_BUILD = """
import sys, qdrant_edge
shard = qdrant_edge.EdgeShard.load(sys.argv[1])
shard.optimize()
shard.flush()
shard.close()
"""


def build_graph(folder: Path, tick: Callable[[], None]) -> None:
    """Merge and index the shard in `folder`, which nobody has open; `tick` is called now and then meanwhile.

    Raises:
        OSError: it could not be done; the shard is as it was.
    """
    _remove_half_built(folder)
    command = [sys.executable, "-c", _BUILD, str(folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as child:
        try:
            while child.poll() is None:
                tick()
                time.sleep(TICK_S)
        except BaseException:
            child.kill()
            child.wait()
            _remove_half_built(folder)
            raise
        said = child.stderr.read().strip() if child.stderr else ""
    if child.returncode:
        raise OSError(said.splitlines()[-1] if said else f"the builder ended with {child.returncode}")


def _remove_half_built(folder: Path) -> None:
    for draft in folder.glob("temp_segments/*"):
        shutil.rmtree(draft, ignore_errors=True)
