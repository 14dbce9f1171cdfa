"""ViT-B trained on tubelets on a CUDA card: the CPU's logits first, then the share of the card's bf16 peak.

    python -m benchmarks.gpu_brain

The clip is that of `benchmarks.brain_tokens` (96^3 voxels, 20 frames, the cubes that touch the brain), the
model timm's ViT-B with random weights, a step forward, backward and AdamW in bf16 autocast. FLOP are counted
on the eager forward pass, times three. Ends with 2 where there is no CUDA. Writes
benchmarks/results/gpu_brain_CARD.json and .md.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.brain_tokens import brain_model, clip_run, spec
from benchmarks.gpu import cuda_card, file_name, peak, timed
from benchmarks.outcome import command, machine, table, write
from neuro.model import BrainTransformer
from neuro.scaling.flops import FORWARD_AND_BACKWARD, forward_flops
from neuro.tokens import TokenBatch, collate, cubes

BACKBONE = "scratch:vit_base_patch16_224"
LARGEST_DIFFERENCE = {"float32": 1e-3, "bfloat16": 0.1}  # of logits, between the card and the CPU
AIM = 0.40


def main() -> None:
    """Check, measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32])
    options = parser.parse_args()
    device, card = cuda_card()
    agreement = check(device)  # first: a fast wrong answer is worth nothing
    rows = [
        row
        for compiled in (False, True)
        for size in options.batches
        for row in [trained(device, size, compiled=compiled, peak_tflops=peak(card))]
    ]
    fields = {
        "command": command("benchmarks.gpu_brain"),
        "card": card,
        "machine": machine("torch", "timm"),
        "agreement": agreement,
        "training": rows,
    }
    write(f"gpu_brain_{file_name(card)}", fields, f"ViT-B on tubelets, on one {card}", _lines(fields))


def clips(count: int) -> TokenBatch:
    """A batch of clips of different people."""
    return collate([cubes(clip_run(number), spec()).clip(0) for number in range(count)])


def model() -> BrainTransformer:
    """ViT-B over the clip's tokens; a readout that begins at zero would hide every difference."""
    built = brain_model(cubes(clip_run(), spec()), BACKBONE)
    torch.manual_seed(1)
    for parameter in built.readout.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return built


def check(device: torch.device) -> dict[str, float]:
    """Largest difference between logits of the card and of the CPU, in fp32 and in bf16 autocast.

    Raises:
        SystemExit: one lies above `LARGEST_DIFFERENCE`.
    """
    batch, built = clips(2), model().eval()
    with torch.inference_mode():
        expected_B = built(batch)
        built.to(device)
        found = {}
        for name, largest in LARGEST_DIFFERENCE.items():
            with torch.autocast(device.type, dtype=getattr(torch, name), enabled=name != "float32"):
                difference = float((built(batch.to(device)).float().cpu() - expected_B).abs().max())
            if not difference <= largest:
                raise SystemExit(f"in {name} logits differ by {difference:.4f}, more than {largest}")
            found[name] = difference
    return found


def trained(device: torch.device, size: int, *, compiled: bool, peak_tflops: float | None) -> dict[str, Any]:
    """Clips a second of training steps, and the share of the peak that their products come to."""
    built, batch = model().to(device).train(), clips(size).to(device)
    flop = FORWARD_AND_BACKWARD * forward_flops(lambda: built(batch))
    run = torch.compile(built) if compiled else built
    optimizer = torch.optim.AdamW(built.parameters(), lr=1e-4, fused=device.type == "cuda")
    target_B = torch.arange(size, device=device) % 2

    def step() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            logits_B = run(batch)
        loss = F.binary_cross_entropy_with_logits(logits_B.float(), target_B.float())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    seconds = timed(step, device)
    tflops = flop / seconds / 1e12
    return {
        "batch": size,
        "mode": "compiled" if compiled else "eager",
        "tokens": batch.places,
        "clips_per_second": size / seconds,
        "gflop_per_clip": flop / size / 1e9,
        "tflops": tflops,
        "share_of_peak": tflops / peak_tflops if peak_tflops else None,
    }


def _lines(fields: dict[str, Any]) -> list[str]:
    rows = [
        [
            str(row["batch"]),
            row["mode"],
            f"{row['clips_per_second']:.1f}",
            f"{row['tflops']:.0f}",
            "unknown" if row["share_of_peak"] is None else f"{100 * row['share_of_peak']:.0f} %",
        ]
        for row in fields["training"]
    ]
    differences = ", ".join(f"{name} {value:.2g}" for name, value in fields["agreement"].items())
    return [
        f"{fields['training'][0]['tokens']:,} tokens a clip; {AIM:.0%} of the bf16 peak was aimed at. Largest"
        f" difference from the CPU's logits: {differences}.",
        "",
        *table(["batch", "mode", "clips/s", "TFLOP/s", "of the bf16 peak"], rows),
    ]


if __name__ == "__main__":
    main()
