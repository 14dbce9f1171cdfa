"""How long does a whole `vision search` take, from command to hits, against an import of its libraries?

    python -m benchmarks.query_start

An index of 10,000 tiny pictures with random vectors, under embedded:lite's fingerprint, whose text half is
exported. `vision search` and `python -c "import torch, open_clip"` then run in turns, as processes of their
own. Writes benchmarks/results/query_start.json and .md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.outcome import command, machine, table, write
from vision.backbones import Backbone, Preprocess, load_backbone
from vision.optimize.text_export import export_text_tower
from vision.retrieval import ImageIndex

IMPORTS = 'python -c "import torch, open_clip"'
SIDE = 8


class RandomVectors:
    """A stand-in with a model's name and fingerprint, whose picture vectors are random and quick."""

    has_text = True
    preprocess = Preprocess(size=(SIDE, SIDE), resize_to=(SIDE, SIDE))

    def __init__(self, backbone: Backbone):
        self.name, self.fingerprint, self.output_dim = (
            backbone.name,
            backbone.fingerprint,
            backbone.output_dim,
        )
        self._centre_E = backbone.encode_text(["a photograph"])[0]
        self._backbone, self._generator = backbone, torch.Generator().manual_seed(0)

    def encode_image(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Pixels (B, C, H, W) -> unit vectors (B, E) about a centre, as pictures' vectors are."""
        noise_BE = torch.randn(len(pixels_BCHW), self.output_dim, generator=self._generator)
        return torch.nn.functional.normalize(self._centre_E + 0.07 * noise_BE, dim=-1)

    def encode_text(self, sentences: Sequence[str]) -> torch.Tensor:
        """The model's own."""
        return self._backbone.encode_text(sentences)


def main() -> None:
    """Run it and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = _built(Path(folder), options.pictures)
        search = [str(Path(sys.executable).with_name("vision")), "search", "a dog", "--store", str(store)]
        processes = {"vision search": search, IMPORTS: [sys.executable, "-c", "import torch, open_clip"]}
        seconds = _timed(processes, options.rounds)
    ratio = statistics.median(
        own / other for own, other in zip(seconds["vision search"], seconds[IMPORTS], strict=True)
    )
    fields = {
        "command": command("benchmarks.query_start"),
        "machine": machine("torch", "open_clip_torch", "qdrant-edge-py", "numpy"),
        "pictures": options.pictures,
        "ratio": ratio,
        "seconds": seconds,
    }
    rows = [
        [f"`{name}`", f"{statistics.median(times):.2f}", f"{min(times):.2f}", f"{max(times):.2f}"]
        for name, times in seconds.items()
    ]
    lines = [
        f"{options.pictures:,} pictures, warm cache, {options.rounds} turns each, whole processes.",
        "",
        *table(["process", "median s", "least s", "most s"], rows),
        "",
        f"Median ratio: {ratio:.3f}",
    ]
    write("query_start", fields, "The whole of a search, cold process and warm cache", lines)


def _built(folder: Path, count: int) -> Path:
    """An index of `count` pictures, none the same, and the model's text half in the cache."""
    backbone = load_backbone("embedded:lite", device="cpu")
    if export_text_tower(backbone) is None:
        raise SystemExit("the text half could not be exported")
    pictures = folder / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels_HWC = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels_HWC).save(pictures / f"{number:06d}.png", compress_level=1)
    with ImageIndex.create(folder / "store", RandomVectors(backbone)) as index:
        index.add_folder([pictures])
        if len(index) != count:
            raise SystemExit(f"{len(index)} pictures were indexed, not {count}")
    return folder / "store"


def _timed(processes: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """Wall seconds of each process; they take turns. One run of each goes before, for the file cache."""
    seconds: dict[str, list[float]] = {name: [] for name in processes}
    for turn in range(rounds + 1):
        for name, arguments in processes.items():
            start = time.perf_counter()
            subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, env=os.environ)
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
