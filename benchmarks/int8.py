"""How fast are 8-bit integers against open_clip's eager fp32 on this CPU, and how near do the vectors stay?

    python -m benchmarks.int8 --threads 2

The weights are random, from a seed: there is no hub where this was written, and time does not depend on them;
cosines of trained weights may be lower. Forward passes over the same real photographs are timed in turns.
Writes benchmarks/results/int8.json and .md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import torch

from benchmarks.outcome import command, machine, table, write
from benchmarks.photographs import add_photos_option
from data.photo_walk import walk_photos
from data.photos import load_photo
from vision.backbones import Backbone
from vision.backbones.open_clip_build import build_open_clip, describe_clip
from vision.optimize.int8 import converted, lacks_dot_products, quantize

EAGER = "open_clip eager fp32"


def main() -> None:
    """Run it and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_photos_option(parser)
    parser.add_argument("--arch", default="ViT-B-32")
    parser.add_argument("--count", type=int, default=250, help="photographs to compare")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    architecture, preprocess = describe_clip(options.arch)
    backbone = build_open_clip(
        architecture, name=f"clip:{options.arch}", preprocess=preprocess, weights=None, seed=0
    )
    paths = list(islice(walk_photos([options.photos]), options.count))
    pictures = [backbone.preprocess.pixels(load_photo(path).pixels_HWC) for path in paths]
    pixels_NCHW = backbone.preprocess.normalise(torch.from_numpy(np.stack(pictures)))
    start = time.perf_counter()
    encoders = _encoders(backbone, pictures, options.threads)
    prepared = time.perf_counter() - start

    vectors = {name: _all(encode, pixels_NCHW, options.batch) for name, encode in encoders.items()}
    seconds = _timed(encoders, pixels_NCHW[: options.batch], options.rounds)
    rows = [_row(name, seconds, vectors, options.batch) for name in encoders]
    fields = {
        "command": command("benchmarks.int8"),
        "machine": machine("torch", "open_clip_torch", "openvino", "nncf"),
        "weights": "random, seed 0",
        "photographs": len(pictures),
        "batch": options.batch,
        "threads": options.threads,
        "preparation_seconds": prepared,
        "linear_layers_as_convolutions": lacks_dot_products(),
        "rows": rows,
    }
    write("int8", fields, f"{options.arch} on a CPU: forward passes", _lines(fields))


def _encoders(
    backbone: Backbone, pictures: list[Any], threads: int
) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    import openvino

    int8 = quantize(backbone, pictures)
    # Without the last one it would be bfloat16 on a CPU that has it.
    hints = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": str(threads),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(converted(backbone), "CPU", hints)
    model: Any = backbone.model

    def eager(pixels_BCHW: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            vectors_BE: torch.Tensor = model.encode_image(pixels_BCHW, normalize=True)
            return vectors_BE.clone()

    return {
        EAGER: eager,
        "OpenVINO fp32": lambda pixels_BCHW: torch.from_numpy(np.array(compiled([pixels_BCHW.numpy()])[0])),
        "OpenVINO int8": int8.encode_image,
    }


def _all(
    encode: Callable[[torch.Tensor], torch.Tensor], pixels_NCHW: torch.Tensor, batch: int
) -> torch.Tensor:
    return torch.cat([encode(part) for part in pixels_NCHW.split(batch)])


def _timed(
    encoders: dict[str, Callable[[torch.Tensor], torch.Tensor]], pixels_BCHW: torch.Tensor, rounds: int
) -> dict[str, list[float]]:
    """Seconds of each forward pass; the encoders take turns, so that a busy spell hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(rounds):
        for name, encode in encoders.items():
            start = time.perf_counter()
            encode(pixels_BCHW)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def _row(
    name: str, seconds: dict[str, list[float]], vectors: dict[str, torch.Tensor], batch: int
) -> dict[str, Any]:
    cosines = (vectors[name] * vectors[EAGER]).sum(1)
    ratios = [eager / own for eager, own in zip(seconds[EAGER], seconds[name], strict=True)]
    return {
        "encoder": name,
        "images_per_second": batch / statistics.median(seconds[name]),
        "times_eager": statistics.median(ratios),
        "minimum_cosine": cosines.min().item(),
        "mean_cosine": cosines.mean().item(),
        "seconds": seconds[name],
    }


def _lines(fields: dict[str, Any]) -> list[str]:
    cpu = fields["machine"]
    instructions = ", ".join(cpu["instructions"]) or "none of note"
    form = "as 1x1 convolutions" if fields["linear_layers_as_convolutions"] else "as products of matrices"
    return [
        f"{fields['photographs']} photographs, batch {fields['batch']}, {fields['threads']} threads,"
        f" {cpu['processor']} ({instructions}); weights {fields['weights']}; int8 linear layers {form}."
        f" Exporting and quantising took {fields['preparation_seconds']:.0f} s, once.",
        "",
        *table(
            ["encoder", "images/s", "times eager", "minimum cosine", "mean cosine"],
            [
                [
                    row["encoder"],
                    f"{row['images_per_second']:.1f}",
                    f"{row['times_eager']:.2f}",
                    f"{row['minimum_cosine']:.5f}",
                    f"{row['mean_cosine']:.5f}",
                ]
                for row in fields["rows"]
            ],
        ),
    ]


if __name__ == "__main__":
    main()
