"""How much of a model's own speed is left when a folder is indexed from end to end?

    python -m benchmarks.index_end_to_end --threads 2

In each round as many files, new to the index, are read, decoded, embedded and stored as the model then embeds
alone, in batches of the same size, once before and once after. The files are photographs, each made
distinct by a few bytes behind its end, which decoders pass over. The weights are random, from a seed: time
does not depend on them. Writes benchmarks/results/index_end_to_end.json and .md (with --precision int8,
index_end_to_end_int8).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.outcome import command, machine, table, write
from benchmarks.photographs import add_photos_option
from data.photo_walk import walk_photos
from vision.backbones import Backbone
from vision.backbones.open_clip_build import build_open_clip, describe_clip
from vision.retrieval import ImageIndex, IngestOptions
from vision.retrieval.decode_pool import start_decoders
from vision.retrieval.embedder import Embedder
from vision.retrieval.picture_reader import PictureReader
from vision.store.place import DECODE_MODES

BAR = 0.9


def main() -> None:
    """Run the rounds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_photos_option(parser)
    parser.add_argument("--arch", default="ViT-B-32")
    parser.add_argument("--precision", choices=("fp32", "int8"), default="fp32")
    parser.add_argument("--decode", choices=DECODE_MODES, default="exact")
    parser.add_argument("--count", type=int, default=250, help="pictures of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=None, help="processes that decode")
    options = parser.parse_args()
    start_decoders()
    torch.set_num_threads(options.threads)
    embedder = build(options)
    photos = [path.read_bytes() for path in walk_photos([options.photos])]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ImageIndex.create(folder / "store", embedder, decode=options.decode) as index:
            ingest = IngestOptions(batch_size=options.batch, decode_workers=options.workers)
            for number in range(options.rounds + 1):  # the first is to warm up
                made = copies(photos, folder / f"{number}", options.count)
                before = forward_seconds(embedder, options)
                started = time.perf_counter()
                summary = index.add_folder([made], options=ingest)
                whole = time.perf_counter() - started
                assert summary.embedded == options.count, summary
                alone = (before + forward_seconds(embedder, options)) / 2
                if number:
                    rows.append({"forward_s": alone, "index_s": whole, "ratio": alone / whole})
                    print(rows[-1], flush=True)
    report(rows, options)


def build(options: argparse.Namespace) -> Embedder:
    """The model, with random weights."""
    architecture, preprocess = describe_clip(options.arch)
    backbone: Backbone = build_open_clip(
        architecture, name=f"clip:{options.arch}", preprocess=preprocess, weights=None, seed=0
    )
    if options.precision == "fp32":
        return backbone
    from vision.optimize.int8 import quantize

    reader = PictureReader(preprocess=backbone.preprocess)
    return quantize(backbone, [reader.read(path)[1] for path in islice(walk_photos([options.photos]), 64)])


def copies(photos: list[bytes], folder: Path, count: int) -> Path:
    """A folder of `count` JPEGs, no two of the same bytes, nor of those of another folder."""
    folder.mkdir()
    for number, data in enumerate(islice(cycle(photos), count)):
        (folder / f"{number:06}.jpg").write_bytes(data + f"{folder.name}/{number}".encode())
    return folder


def batches(count: int, size: int) -> Iterator[int]:
    """Sizes of the batches that `count` pictures make."""
    for start in range(0, count, size):
        yield min(size, count - start)


def forward_seconds(embedder: Embedder, options: argparse.Namespace) -> float:
    """The forward passes alone, over pixels that lie ready."""
    rng = np.random.default_rng(0)
    pixels_BCHW = torch.from_numpy(rng.normal(size=(options.batch, 3, 224, 224)).astype(np.float32))
    started = time.perf_counter()
    for size in batches(options.count, options.batch):
        embedder.encode_image(pixels_BCHW[:size])
    return time.perf_counter() - started


def report(rows: list[dict[str, float]], options: argparse.Namespace) -> None:
    """Write the files."""
    ratio = statistics.median(row["ratio"] for row in rows)
    fields: dict[str, Any] = {
        "command": command("benchmarks.index_end_to_end"),
        "machine": machine("torch", "open_clip_torch", "qdrant-edge-py"),
        "weights": "random, seed 0",
        **{
            name: getattr(options, name)
            for name in ("arch", "precision", "decode", "count", "batch", "threads")
        },
        "ratio": ratio,
        "at_least": BAR,
        "rounds": rows,
    }
    rates = [options.count / statistics.median(row[key] for row in rows) for key in ("forward_s", "index_s")]
    heads = ("model", "forward alone, pictures/s", "index, pictures/s", "ratio", "at least")
    cells = [
        (f"{options.arch} {options.precision}", *(f"{rate:.1f}" for rate in rates), f"{ratio:.3f}", f"{BAR}")
    ]
    name = "index_end_to_end" + ("_int8" if options.precision == "int8" else "")
    words = f"{len(rows)} rounds of {options.count} photographs, batches of {options.batch}; medians."
    write(
        name, fields, "Indexing from end to end, against the model alone", [words, "", *table(heads, cells)]
    )


if __name__ == "__main__":
    main()
