"""What benchmarks write beside their figures: the command, the machine, and two files of the same name."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def command(module: str) -> str:
    """The command line that runs this again."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def machine(*packages: str) -> dict[str, Any]:
    """Processor, cores that this process may use, its instructions for 8-bit integers, and versions."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    wanted = ("avx2", "avx512_f", "avx512_vnni", "avx_vnni", "amx_int8")
    return {
        "processor": capabilities.get("cpu_name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "instructions": [name for name in wanted if capabilities.get(name)],
        "versions": {package: metadata.version(package) for package in packages},
    }


def peak_mib(process: int | str = "self") -> float:
    """The largest resident set that a process has had, in MiB; Linux.

    Not `ru_maxrss`: a process inherits that from the one that started it.
    """
    lines = (Path("/proc") / str(process) / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def write(name: str, fields: Mapping[str, Any], title: str, lines: Sequence[str]) -> None:
    """benchmarks/results/NAME.json with the fields, and NAME.md with title, command and lines."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
    text = "\n".join([f"# {title}", "", f"`{fields['command']}`", "", *lines])
    (RESULTS / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *rows)]
