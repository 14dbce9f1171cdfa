"""How long does a query take, before and after `optimize`, and what does the graph find?

    python -m benchmarks.search --rows 100000 --rclip-python PYTHON_WITH_RCLIP
    python -m benchmarks.search --rows 1000000

Vectors are those of `benchmarks.clip_like` (seeded); the queries are its texts. Everything that is compared
takes turns, query by query, in one process: numpy's product + argpartition over the same vectors with numpy's
own threads, and the store. Recall is against that product. The filter keeps 10 % of the rows by their width.
With `--rclip-python` (a Python that has rclip 4) rclip searches the same vectors in a process of its own,
beside a numpy product there. Each `--rows` is a section of benchmarks/results/search.json and .md.

Shape legend: N rows, Q queries, E components.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clip_like import Array, ClipLike, clip_like
from vision.store.edge_store import EdgeStore
from vision.store.vector_store import Row
from vision.store.where import Condition, parse_where

RESULTS = Path(__file__).parent / "results"
K, PAGE, WARM = 10, 1000, 20
PAUSE_S = 0.05  # numpy's threads wait busily for more work at first, and would be in the way of the next
TENTH = parse_where("width < 100")  # of widths spread evenly over 0 to 999
STEPS = ("before", "after", "rclip")
LIMITS = {  # at most so many times the time of what it is compared with, at recall of at least
    ("before", 100_000): (4.0, 1.0),
    ("after", 100_000): (0.25, 0.99),
    ("after, 10 % filter", 100_000): (0.5, 0.99),
    ("after", 1_000_000): (0.05, 0.98),
    ("after, against rclip", 100_000): (0.01, 0.99),
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the table: what took how long against what, per query, and what it found."""

    what: str
    p50_ms: float
    against: str
    against_ms: float
    cpu_ms: float
    recall: float

    def to_dict(self, rows: int) -> dict[str, Any]:
        """JSON-ready, with the ratio and what it has to be."""
        limit, recall_limit = LIMITS.get((self.what, rows), (None, None))
        return {
            **vars(self),
            "ratio": self.p50_ms / self.against_ms,
            "limit": limit,
            "recall_limit": recall_limit,
        }


class Race:
    """The contenders of one run, over one store filled with one set of vectors."""

    def __init__(self, made: ClipLike, folder: Path):
        self.made = made
        rng = np.random.default_rng(1)
        self.ids = [str(uuid.UUID(bytes=rng.bytes(16))) for _ in range(len(made.pictures_NE))]
        self.number = {id: number for number, id in enumerate(self.ids)}
        self.width_N = rng.integers(0, 1000, len(self.ids))
        self.store = EdgeStore.create(folder, made.pictures_NE.shape[1])

    def fill(self) -> float:
        """All rows into the store; seconds."""
        began = time.perf_counter()
        for start in range(0, len(self.ids), PAGE):
            numbers = range(start, min(start + PAGE, len(self.ids)))
            payloads = [_payload(number, int(self.width_N[number])) for number in numbers]
            chosen = slice(numbers.start, numbers.stop)
            self.store.upsert(self.ids[chosen], self.made.pictures_NE[chosen], payloads)
        return time.perf_counter() - began

    def run(self, step: str) -> list[Line]:
        """Every query by each contender in turn, after others that warm up."""
        contenders: dict[str, Callable[[Array], Iterable[int]]] = {
            "numpy": self.product,
            step: lambda query_E: self.search(query_E, None),
            f"{step}, 10 % filter": lambda query_E: self.search(query_E, TENTH),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
        found: dict[str, list[float]] = {name: [] for name in contenders}
        warm_QE, queries_QE = self.made.queries_QE[:WARM], self.made.queries_QE[WARM:]
        truths = {kept: [self.truth(query_E, kept) for query_E in queries_QE] for kept in (False, True)}
        for query_E in warm_QE:
            self.store.search(query_E, K, exact=True)  # so that all vectors are in this process's memory
            for search in contenders.values():
                search(query_E)
        for number, query_E in enumerate(queries_QE):
            for name, search in contenders.items():
                time.sleep(PAUSE_S)
                cpu, wall = time.process_time(), time.perf_counter()
                hits = search(query_E)
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
                found[name].append(len(truths["filter" in name][number].intersection(hits)) / K)
        return [
            Line(
                what=name,
                p50_ms=_p50_ms(times[name], 0),
                against="numpy",
                against_ms=_p50_ms(times["numpy"], 0),
                cpu_ms=_p50_ms(times[name], 1),
                recall=statistics.fmean(found[name]),
            )
            for name in contenders
        ]

    def product(self, query_E: Array) -> list[int]:
        """The K best by brute force, as anyone would write it."""
        best: list[int] = np.argpartition(-(self.made.pictures_NE @ query_E), K)[:K].tolist()
        return best

    def search(self, query_E: Array, where: Condition | None) -> list[int]:
        """The K best that the store finds."""
        rows: list[Row] = self.store.search(query_E, K, where=where)
        return [self.number[row.id] for row in rows]

    def truth(self, query_E: Array, is_filtered: bool) -> set[int]:
        """The K best of those that fit."""
        score_N = self.made.pictures_NE @ query_E
        if is_filtered:
            score_N[self.width_N >= 100] = -2
        return set(np.argpartition(-score_N, K)[:K].tolist())


def measure(rows: int, queries: int, steps: Iterable[str], rclip_python: str | None) -> dict[str, Any]:
    """One section of the results."""
    made = clip_like(rows, WARM + queries)
    section: dict[str, Any] = {"rows": rows, "queries": queries, "machine": _machine(), "lines": []}
    vectors_bytes = made.pictures_NE.nbytes
    with tempfile.TemporaryDirectory() as folder:
        race = Race(made, Path(folder) / "store")
        section["insert_s"] = race.fill()
        section["disk_before"] = _disk(race) / vectors_bytes
        lines = race.run("before") if "before" in steps else []
        if "after" in steps:
            before = os.times()
            race.store.optimize()
            after = os.times()  # the graph is built by a child process
            section["optimize_s"] = after.elapsed - before.elapsed
            section["optimize_cpu_s"] = sum(after[:4]) - sum(before[:4])
            section["disk_after"] = _disk(race) / vectors_bytes
            lines += race.run("after")
        race.store.close()
        if "rclip" in steps and rclip_python:
            answer = _rclip(rclip_python, made, Path(folder))
            section["rclip"] = answer
            lines += _against_rclip(answer, lines)
    section["lines"] = [line.to_dict(rows) for line in lines if line.what != "numpy"]
    return section


def _payload(number: int, width: int) -> dict[str, Any]:
    file = {"path": f"/photos/{number // 100:05d}/{number:07d}.jpg", "mtime": "2024-05-03T10:20:30Z"}
    facts = {"size": 3_000_000, "width": width, "height": 1000, "format": "JPEG"}
    return {
        **facts,
        "taken_at": "2024-05-03T10:20:30Z",
        "files": [{**file, "tags": [f"{number // 100:05d}"]}],
    }


def _rclip(python: str, made: ClipLike, folder: Path) -> dict[str, Any]:
    np.save(folder / "vectors.npy", made.pictures_NE)
    np.save(folder / "queries.npy", made.queries_QE[:50])
    script = Path(__file__).parent / "rclip_search.py"
    command = [python, str(script), str(folder / "vectors.npy"), str(folder / "queries.npy")]
    answer: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return answer


def _against_rclip(answer: dict[str, Any], lines: list[Line]) -> list[Line]:
    name = f"rclip {answer['version']}"
    its_own = Line(
        what=name,
        p50_ms=answer["rclip_ms"],
        against="numpy in its process",
        against_ms=answer["numpy_ms"],
        cpu_ms=answer["rclip_cpu_ms"],
        recall=answer["recall"],
    )
    ours = [line for line in lines if line.what == "after"]
    return [its_own] + [
        Line(
            what="after, against rclip",
            p50_ms=line.p50_ms,
            against=name,
            against_ms=answer["rclip_ms"],
            cpu_ms=line.cpu_ms,
            recall=line.recall,
        )
        for line in ours
    ]


def _p50_ms(pairs: list[tuple[float, float]], which: int) -> float:
    return 1000 * statistics.median(pair[which] for pair in pairs)


def _disk(race: Race) -> int:
    return race.store.facts().disk_bytes or 0


def _machine() -> str:
    versions = f"Python {platform.python_version()}, numpy {np.__version__}"
    return f"{platform.machine()}, {os.cpu_count()} CPUs, {versions}"


def main() -> None:
    """Measure, merge into the results, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--rclip-python", help="a Python that has rclip 4")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.results.mkdir(exist_ok=True)
    place = options.results / "search.json"
    for rows in options.rows:
        section = measure(rows, options.queries, options.only, options.rclip_python)
        shown = [Path(part).name if part == options.rclip_python else part for part in sys.argv[1:]]
        section["command"] = shlex.join(["python", "-m", "benchmarks.search", *shown])
        # Read only now: a run takes long, and another may have written its section meanwhile.
        sections = json.loads(place.read_text())["sections"] if place.exists() else {}
        sections[str(rows)] = section
        place.write_text(json.dumps({"sections": sections}, indent=1) + "\n")
        (options.results / "search.md").write_text(_markdown(sections.values()))
    print((options.results / "search.md").read_text())


def _markdown(sections: Iterable[dict[str, Any]]) -> str:
    lines = ["# Queries, before and after `vision optimize`", ""]
    lines += [
        f"Median time of one query for the {K} best; `benchmarks/search.py` says how it is measured.",
        "",
    ]
    for section in sorted(sections, key=lambda section: section["rows"]):
        lines += _table(section)
    return "\n".join(lines).rstrip() + "\n"


def _table(section: dict[str, Any]) -> list[str]:
    lines = [f"## {section['rows']:,} x 512", "", f"`{section['command']}`: {section['machine']}.", ""]
    lines += [
        "| query | p50 ms | CPU ms | against | its p50 ms | ratio | must be | recall@10 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for line in section["lines"]:
        must_be = f"<= {line['limit']:g} at {line['recall_limit']:g}" if line["limit"] else ""
        lines.append(
            f"| {line['what']} | {line['p50_ms']:.2f} | {line['cpu_ms']:.2f} | {line['against']}"
            f" | {line['against_ms']:.2f} | {line['ratio']:.3f} | {must_be} | {line['recall']:.4f} |"
        )
    facts = [f"Filled in {section['insert_s']:.1f} s", f"disk {section['disk_before']:.2f} times the vectors"]
    if "optimize_s" in section:
        facts += [
            f"`optimize` {section['optimize_s']:.0f} s ({section['optimize_cpu_s']:.0f} CPU seconds)",
            f"disk after it {section['disk_after']:.2f} times",
        ]
    return [*lines, "", "; ".join(facts) + ".", ""]


if __name__ == "__main__":
    main()
