"""What a CUDA card does: correct vectors first, then images a second, share of the peak, and exact search.

    python -m benchmarks.gpu

Random weights from a seed: neither time nor the comparison depends on them. Ends with 2 where there is no
CUDA. Writes benchmarks/results/gpu_CARD.json and .md.

Shape suffixes: B batch, C channels, H W pixels, N rows, E components.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.outcome import command, machine, table, write
from vision.backbones import Backbone
from vision.backbones.open_clip_build import build_open_clip, describe_clip

# Dense bf16 products, TFLOP/s, by the makers' data sheets; the first name found in the card's counts.
PEAKS = {
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10G": 70.0,
    "A10": 125.0,
    "4090": 165.2,
    "3090": 71.0,
}
LEAST_COSINE = {"float32": 0.9999, "bfloat16": 0.99}


def main() -> None:
    """Run it and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", nargs="+", default=["ViT-B-32", "ViT-L-14"])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    device, card = cuda_card()
    models = []
    for arch in options.arch:
        agreement = check(arch, device)  # first: a fast wrong answer is worth nothing
        models += [{**row, **agreement} for row in forward(arch, device, options.batch, peak(card))]
    fields = {
        "command": command("benchmarks.gpu"),
        "card": card,
        "machine": machine("torch", "open_clip_torch"),
        "models": models,
        "search": search(device, options.rows, 512),
    }
    write(f"gpu_{file_name(card)}", fields, f"On one {card}", _lines(fields))


def cuda_card() -> tuple[torch.device, str]:
    """The CUDA device and its name.

    Raises:
        SystemExit: 2, there is none.
    """
    if not torch.cuda.is_available():
        print("error: there is no CUDA card here", file=sys.stderr)
        raise SystemExit(2)
    device = torch.device("cuda")
    return device, torch.cuda.get_device_name(device)


def file_name(card: str) -> str:
    """A card's name as a part of a file's."""
    return re.sub(r"[^a-z0-9]+", "_", card.lower()).strip("_")


def build(arch: str) -> Backbone:
    """An architecture of open_clip with random weights."""
    architecture, preprocess = describe_clip(arch)
    return build_open_clip(architecture, name=f"clip:{arch}", preprocess=preprocess, weights=None, seed=0)


def check(arch: str, device: torch.device, batch: int = 8) -> dict[str, float]:
    """Least cosine with the CPU's fp32 vectors, in fp32 and in bf16.

    Raises:
        SystemExit: one lies below `LEAST_COSINE`.
    """
    backbone = build(arch)
    pixels_BCHW = torch.randn(batch, 3, *backbone.image_size, generator=torch.Generator().manual_seed(0))
    expected_BE = backbone.encode_image(pixels_BCHW)
    found = {}
    for name, least in LEAST_COSINE.items():
        backbone = backbone.to(device=device, dtype=getattr(torch, name))
        cosine = (backbone.encode_image(pixels_BCHW).cpu() * expected_BE).sum(1).min().item()
        if not cosine >= least:
            raise SystemExit(f"{arch} in {name}: cosine {cosine:.5f} with the CPU's vectors, below {least}")
        found[f"least_cosine_{name}"] = cosine
    return found


def forward(arch: str, device: torch.device, batch: int, peak_tflops: float | None) -> list[dict[str, Any]]:
    """Images a second of the forward pass in bf16, eager and compiled, and the share of the peak."""
    backbone = build(arch).to(device=device, dtype=torch.bfloat16)
    pixels_BCHW = torch.randn(batch, 3, *backbone.image_size, device=device, dtype=torch.bfloat16)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        _without_fast_path(lambda: backbone.encode_image(pixels_BCHW))
    flops = counter.get_total_flops()
    rows = []
    for name, encode in (
        ("eager", backbone.encode_image),
        ("compiled", torch.compile(backbone.encode_image)),
    ):
        seconds = timed(lambda encode=encode: encode(pixels_BCHW), device)
        tflops = flops / seconds / 1e12
        rows.append(
            {
                "model": arch,
                "mode": name,
                "batch": batch,
                "images_per_second": batch / seconds,
                "gflops_per_image": flops / batch / 1e9,
                "tflops": tflops,
                "share_of_peak": tflops / peak_tflops if peak_tflops else None,
            }
        )
    return rows


def search(device: torch.device, rows: int, width: int, k: int = 10) -> dict[str, Any]:
    """Milliseconds of one exact query among `rows` unit vectors, in fp32 and in bf16."""
    generator = torch.Generator(device).manual_seed(0)
    vectors_NE = torch.nn.functional.normalize(
        torch.randn(rows, width, device=device, generator=generator), dim=1
    )
    query_E = vectors_NE[rows // 2]
    found: dict[str, Any] = {"rows": rows, "width": width}
    for dtype in (torch.float32, torch.bfloat16):
        typed_NE, typed_E = vectors_NE.to(dtype), query_E.to(dtype)
        if (typed_NE @ typed_E).argmax().item() != rows // 2:
            raise SystemExit("a search for a stored vector did not find it")
        seconds = timed(lambda a=typed_NE, b=typed_E: (a @ b).topk(k), device)
        found[f"ms_{str(dtype).removeprefix('torch.')}"] = 1e3 * seconds
    return found


def timed(work: Callable[[], Any], device: torch.device, rounds: int = 20) -> float:
    """Median seconds of a piece of work, after three rounds that do not count."""
    seconds = []
    for turn in range(rounds + 3):
        _settle(device)
        start = time.perf_counter()
        work()
        _settle(device)
        if turn >= 3:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def peak(card: str) -> float | None:
    """Peak of a card in bf16, TFLOP/s; None for an unknown one."""
    return next((tflops for name, tflops in PEAKS.items() if name in card), None)


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _without_fast_path(work: Callable[[], Any]) -> None:
    """Count each product: torch's fused attention block is opaque to the counter."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        work()
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


def _lines(fields: dict[str, Any]) -> list[str]:
    rows = [
        [
            row["model"],
            row["mode"],
            f"{row['images_per_second']:.0f}",
            f"{row['tflops']:.0f}",
            "unknown" if row["share_of_peak"] is None else f"{100 * row['share_of_peak']:.0f} %",
            f"{row['least_cosine_float32']:.6f}",
            f"{row['least_cosine_bfloat16']:.5f}",
        ]
        for row in fields["models"]
    ]
    found = fields["search"]
    headings = ["model", "mode", "images/s", "TFLOP/s", "of the bf16 peak", "cosine fp32", "cosine bf16"]
    return [
        "Forward passes in bf16 with random weights; cosines are the least with the CPU's fp32 vectors.",
        "",
        *table(headings, rows),
        "",
        f"Exact query among {found['rows']:,} x {found['width']}: {found['ms_float32']:.2f} ms in fp32,"
        f" {found['ms_bfloat16']:.2f} ms in bf16.",
    ]


if __name__ == "__main__":
    main()
