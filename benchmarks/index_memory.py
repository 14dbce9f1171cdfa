"""Does memory stay flat while many pictures are indexed?

    python -m benchmarks.index_memory --count 50000

The pictures are generated (64 x 48 JPEGs of noise, no two alike), the model is tiny. Every 1,000 pictures the
memory of this process and of all that it started is noted, pages that they share counted once: what they hold
for themselves, and all that is resident, to which the store's mapped files belong, that the system takes back
when it needs the room. Linux. Writes benchmarks/results/index_memory.json and .md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
import torch
from torch.nn import functional as F

from benchmarks.outcome import command, machine, table, write
from vision.backbones.preprocess import Preprocess
from vision.retrieval import ImageIndex, IngestOptions
from vision.retrieval.decode_pool import start_decoders

DIM, SIDE = 512, 32
EVERY = 1_000
MIB = 1 << 20


class TinyModel:
    """A fixed random projection of the pixels; as long a vector as that of ViT-B/32."""

    name, fingerprint, output_dim, has_text = "bench:tiny", "bench-tiny-1", DIM, False
    preprocess = Preprocess(size=(SIDE, SIDE), resize_to=(SIDE, SIDE))

    def __init__(self) -> None:
        chance = torch.Generator().manual_seed(0)
        self.weights = torch.randn(3 * SIDE * SIDE, DIM, generator=chance)

    def encode_image(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Pixels -> unit vectors (B, DIM)."""
        return F.normalize(pixels_BCHW.flatten(1) @ self.weights, dim=-1)

    def encode_text(self, sentences: Sequence[str]) -> torch.Tensor:
        """Not asked for."""
        raise NotImplementedError


def main() -> None:
    """Make the pictures, index them, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    start_decoders()
    marks: list[dict[str, float]] = []

    def note(done: int, total: int) -> None:
        if done >= (len(marks) + 1) * EVERY:
            own, resident = memory_mib(os.getpid())
            marks.append({"pictures": done, "own_mib": round(own, 1), "resident_mib": round(resident, 1)})
            print(marks[-1], flush=True)

    with tempfile.TemporaryDirectory() as name:
        photos = make(Path(name) / "photos", options.count)
        with ImageIndex.create(Path(name) / "store", TinyModel()) as index:
            index.add_folder([photos], options=IngestOptions(batch_size=options.batch), progress=note)
    report(marks, options)


def make(folder: Path, count: int) -> Path:
    """`count` small JPEGs, 1,000 to a folder."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number // EVERY:03}/{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(simplejpeg.encode_jpeg(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)))
    return folder


def memory_mib(pid: int) -> tuple[float, float]:
    """Own and resident MiB of a process and those that it started; one that ends meanwhile counts nothing."""
    folder = Path(f"/proc/{pid}")
    try:
        lines = (folder / "smaps_rollup").read_text().splitlines()[1:]
        children = (folder / f"task/{pid}/children").read_text().split()
    except OSError:
        return 0, 0
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    parts = [(kib["Pss_Anon"] / 1024, kib["Pss"] / 1024), *(memory_mib(int(child)) for child in children)]
    return sum(own for own, _ in parts), sum(resident for _, resident in parts)


def report(marks: list[dict[str, float]], options: argparse.Namespace) -> None:
    """Write the files."""
    first, most = marks[0]["own_mib"], max(mark["own_mib"] for mark in marks)
    fields = {
        "command": command("benchmarks.index_memory"),
        "machine": machine("torch", "qdrant-edge-py"),
        "count": options.count,
        "own_growth": most / first - 1,
        "rows": marks,
    }
    growth = f"at most {most:,.0f} ({most / first - 1:+.1%})"
    words = f"Own memory after the first {EVERY:,}: {first:,.0f} MiB; {growth}."
    cells = [
        (f"{mark['pictures']:,}", f"{mark['own_mib']:,.0f}", f"{mark['resident_mib']:,.0f}")
        for mark in marks[:: max(1, len(marks) // 25)]
    ]
    heads = ("pictures", "own MiB, all processes", "resident, with mapped files")
    write("index_memory", fields, "Memory while indexing", [words, "", *table(heads, cells)])


if __name__ == "__main__":
    main()
