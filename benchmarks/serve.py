"""What does `vision serve` bear, how long do answers take, and does its memory stay flat meanwhile?

    python -m benchmarks.serve

An index of 10,000 generated photographs with random vectors, under embedded:lite's fingerprint, whose text
half is exported. `vision serve` runs as a process of its own, without a limit of the rate; `wrk` asks it over
loopback, on the same machine, first with one connection and then with many, for a mix of text searches (some
sentences are fresh, most have been asked before), thumbnails, single pictures and health. The server's own
histograms tell the times of each kind, and its memory is noted every second. Linux, and wrk must be installed
(`apt-get install wrk`). Writes benchmarks/results/serve.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from PIL import Image

from benchmarks.index_memory import memory_mib
from benchmarks.outcome import command, machine, table, write
from benchmarks.query_start import RandomVectors
from vision.backbones import load_backbone
from vision.backbones.open_clip_data import imagenet_class_names
from vision.optimize.text_export import export_text_tower
from vision.retrieval import ImageIndex

API = "/api/v1"
SHARES = {"search": 0.4, "thumbnail": 0.4, "picture": 0.15, "health": 0.05}
ROUTES = {
    "search": "/search",
    "thumbnail": "/pictures/{id}/thumbnail",
    "picture": "/pictures/{id}",
    "health": "/health",
}
SENTENCES = 300
FRESH = 0.1  # share of searches whose sentence nobody has asked before
SHOWN = 500  # pictures that are looked at
FLAT = 0.03  # growth of resident memory that is called flat

Figures = dict[str, float]


def main() -> None:
    """Run it and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["CHIASM_CACHE"] = str(folder / "cache")
        store, ids = built(folder, options.pictures)
        script = mix(folder / "mix.lua", ids)
        with running(store) as (process, url):
            alone = load(url, script, process.pid, connections=1, seconds=max(10, options.seconds // 4))
            crowd = load(url, script, process.pid, connections=options.connections, seconds=options.seconds)
    report(options, alone, crowd)


def built(folder: Path, count: int) -> tuple[Path, list[str]]:
    """An index of `count` photographs, none the same; and identifiers of some of them."""
    backbone = load_backbone("embedded:lite", device="cpu")
    if export_text_tower(backbone) is None:
        raise SystemExit("the text half could not be exported")
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"pictures/{number // 1000:03}/{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        patches = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        path.write_bytes(simplejpeg.encode_jpeg(np.asarray(patches.resize((480, 360))), quality=80))
    with ImageIndex.create(folder / "store", RandomVectors(backbone)) as index:
        index.add_folder([folder / "pictures"])
        if len(index) != count:
            raise SystemExit(f"{len(index)} pictures were indexed, not {count}")
        index.search("a photograph", k=1)  # draws the sample that a search needs
        return folder / "store", [id for (id, _), _ in zip(index.browse(), range(SHOWN), strict=False)]


def mix(path: Path, ids: list[str]) -> Path:
    """The script for wrk, its lists filled in."""
    names = imagenet_class_names()
    sentences = [f"a photo of a {name.replace(chr(34), '')}" for name in names[:: len(names) // SENTENCES]]
    shares = ", ".join(f'{{ name = "{name}", share = {share} }}' for name, share in SHARES.items())
    lists = {
        "SENTENCES": json.dumps(sentences[:SENTENCES])[1:-1],
        "IDS": json.dumps(ids)[1:-1],
        "SHARES": shares,
    }
    head = [f"{name} = {{ {items} }}" for name, items in lists.items()] + [f"FRESH = {FRESH}"]
    script = Path(__file__).with_name("serve.lua").read_text(encoding="utf-8")
    path.write_text("\n".join([*head, script]), encoding="utf-8")
    return path


@contextmanager
def running(store: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server, once it has loaded its model; ended by its own process."""
    arguments = ["serve", "--store", str(store), "--port", "0", "--no-open", "--rate", "0"]
    with subprocess.Popen(
        [sys.executable, "-m", "vision.cli", *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            found = re.search(r" at (http://\S+)/ ", process.stdout.readline())
            if found is None:
                raise SystemExit("the server did not start")
            while json.loads(fetch(found[1] + f"{API}/health"))["model_state"] != "ready":
                time.sleep(0.2)
            yield process, found[1]
        finally:
            process.terminate()
            process.wait(60)


def load(url: str, script: Path, pid: int, *, connections: int, seconds: int) -> dict[str, Any]:
    """wrk's figures, the server's own of the same time, and its memory every second."""
    before = figures(url)
    over, memory = threading.Event(), list[dict[str, float]]()

    def watch() -> None:
        began = time.monotonic()
        while not over.wait(max(0.0, began + len(memory) - time.monotonic())):
            own, resident = memory_mib(pid)
            memory.append({"own_mib": round(own, 1), "resident_mib": round(resident, 1)})

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        threads = min(2, connections)
        how = [f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
        said = subprocess.run(
            ["wrk", *how, "-s", str(script), url], capture_output=True, text=True, check=True
        ).stdout
    finally:
        over.set()
        watching.join()
    after = figures(url)
    rise = {name: value - before.get(name, 0) for name, value in after.items()}
    outcome: dict[str, Any] = json.loads(said.splitlines()[-1])
    outcome |= {
        "connections": connections,
        "per_second": outcome["requests"] / outcome["seconds"],
        "statuses": statuses(rise),
        "kinds": {name: kind(rise, route) for name, route in ROUTES.items()},
        "text_calls": rise["chiasm_text_batch_sentences_count"],
        "processor_s": rise["process_cpu_seconds_total"],
        "memory": memory,
    }
    return outcome


def figures(url: str) -> Figures:
    """The server's metrics, by name and labels."""
    lines = fetch(url + f"{API}/metrics").decode().splitlines()
    named = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in named}


def fetch(url: str) -> bytes:
    """The body of an answer."""
    with urllib.request.urlopen(url) as answer:
        body: bytes = answer.read()
    return body


def statuses(rise: Figures) -> dict[str, int]:
    """Answers by status."""
    counts: dict[str, int] = {}
    for name, value in rise.items():
        if value and (found := re.fullmatch(r'chiasm_requests_total\{.*status="(\d+)"\}', name)):
            counts[found[1]] = counts.get(found[1], 0) + int(value)
    return counts


def kind(rise: Figures, route: str) -> Figures:
    """Answers of one route, and what share of them took how long; between two marks as if evenly spread."""
    marks = [
        (float(found[1]), value)
        for name, value in rise.items()
        if (
            found := re.fullmatch(
                rf'chiasm_request_seconds_bucket{{le="([^"]+)",route="{re.escape(route)}"}}', name
            )
        )
    ]
    marks.sort()
    total = marks[-1][1]
    at = {"requests": total}
    for percent in (50, 90, 99):
        low = count = 0.0
        for high, upto in marks:
            if upto >= total * percent / 100:
                share = (total * percent / 100 - count) / max(upto - count, 1)
                at[f"p{percent}_ms"] = 1000 * (low + share * (min(high, 60.0) - low))
                break
            low, count = high, upto
    return at


def growth(memory: list[dict[str, float]], of: str) -> float:
    """How much the last quarter's median lies above that of the second."""
    quarter = len(memory) // 4
    early = statistics.median(mark[of] for mark in memory[quarter : 2 * quarter])
    return statistics.median(mark[of] for mark in memory[-quarter:]) / early - 1


def report(options: argparse.Namespace, alone: dict[str, Any], crowd: dict[str, Any]) -> None:
    """Write the files."""
    errors = sum(crowd[name] + alone[name] for name in ("connect", "read", "write", "timeout", "status"))
    others = {
        status: n for run in (alone, crowd) for status, n in run["statuses"].items() if status[0] != "2"
    }
    calls = crowd["text_calls"] / crowd["kinds"]["search"]["requests"]
    ratio = crowd["p50_ms"] / alone["p50_ms"]
    own, resident = (growth(crowd["memory"], name) for name in ("own_mib", "resident_mib"))
    fields = {
        "command": command("benchmarks.serve"),
        "machine": machine("torch", "uvicorn", "fastapi", "qdrant-edge-py", "numpy"),
        "pictures": options.pictures,
        "errors": errors,
        "other_statuses": others,
        "text_calls_per_search": calls,
        "p50_of_many_to_one": ratio,
        "own_growth": own,
        "resident_growth": resident,
        "alone": alone,
        "crowd": crowd,
    }
    runs = [
        [
            f"{run['connections']}",
            f"{run['per_second']:,.0f}",
            *(f"{run[f'p{p}_ms']:.1f}" for p in (50, 90, 99)),
        ]
        for run in (alone, crowd)
    ]
    kinds = [
        [
            name,
            f"{run['connections']}",
            f"{found['requests']:,.0f}",
            *(f"{found[f'p{p}_ms']:.1f}" for p in (50, 90, 99)),
        ]
        for run in (alone, crowd)
        for name, found in run["kinds"].items()
    ]
    marks = crowd["memory"]
    shares = ", ".join(f"{name} {share:.0%}" for name, share in SHARES.items())
    times = ("p50 ms", "p90 ms", "p99 ms")
    lines = [
        f"{options.pictures:,} pictures; {shares}; {FRESH:.0%} of the sentences are fresh. "
        "No limit of the rate; wrk and the server share the cores.",
        "",
        *table(["connections", "answers a second", *times], runs),
        "",
        f"Errors of sockets, and answers other than 2xx: {errors + sum(others.values())}.",
        "",
        "Times by the server's own histograms:",
        "",
        *table(["kind", "connections", "answers", *times], kinds),
        "",
        f"Calls of the text tower for each search: {calls:.2f}. "
        f"Half of the answers take {ratio:.1f} times as long among {crowd['connections']} as alone. "
        f"Processor time of the server a second: {crowd['processor_s'] / crowd['seconds']:.2f} s.",
        "",
        f"Resident memory of the server and its processes, last quarter against the second: {resident:+.1%} "
        f"({'flat' if resident <= FLAT else 'NOT flat'}: at most {FLAT:+.0%}); "
        f"what they hold for themselves {own:+.1%}.",
        "",
        *table(
            ["second", "own MiB", "resident MiB"],
            [
                [f"{at}", f"{marks[at]['own_mib']:,.0f}", f"{marks[at]['resident_mib']:,.0f}"]
                for at in range(0, len(marks), max(1, len(marks) // 12))
            ],
        ),
    ]
    write("serve", fields, "The server under load", lines)


if __name__ == "__main__":
    main()
