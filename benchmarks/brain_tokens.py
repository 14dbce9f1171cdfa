"""What leaving the brain's outside out of the tokens saves, and what a clip costs beside a picture.

    python -m benchmarks.brain_tokens

One clip is 20 frames of a grid of 96 x 96 x 96 voxels of 2 mm, cut into cubes of 6 voxels, as in SwiFT's
published configuration (Kim et al. 2023, arXiv 2307.05916). Forward: in-brain tokens through a ViT-Ti of
timm's (more parameters than SwiFT's 4.3 million), in units of one picture's forward pass through ViT-B/32
in a batch of 16, the two taking turns. Training: `neuro train`'s default model on the same runs, once on
the cubes that touch the brain and once on all cubes of the grid; throughput in clips a second, and the
losses that they come to. Writes benchmarks/results/brain_tokens.json and .md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.outcome import command, machine, table, write
from data.caches.cached_run import CachedRun
from data.simulation.signal import template_brain
from neuro.model import DEFAULT_BACKBONE, BrainTransformer, ModelConfig
from neuro.scaling.flops import forward_flops
from neuro.tokens import CubeTokens, TubeletSpec, collate, cubes
from vision.backbones import load_backbone
from vision.backbones.open_clip_build import build_open_clip, describe_clip

GRID, VOXEL_MM, FRAMES, EDGE = 96, 2, 20, 6
CLIP_BACKBONE = "scratch:vit_tiny_patch16_224"
PICTURE, PICTURES = "ViT-B-32", 16
SWIFT_UNITS, SWIFT_GFLOP, SWIFT_PARAMETERS = 43.0, 22.8, 4.32e6  # measured beside the same picture model
LARGEST_UNITS = 8.7
PEOPLE, STEPS, BATCH = 24, 36, 4
EFFECT = 0.8  # what patients lose of one region's amplitude, in the training comparison


def clip_run(number: int = 0, *, patient: bool = False) -> CachedRun:
    """A run of 20 frames on the 96^3 grid, the template's brain in its middle, noise inside."""
    brain = template_brain(VOXEL_MM)
    mask_XYZ, shift = _centred(brain.mask_XYZ)
    affine = brain.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ shift
    rng = np.random.default_rng([number, 5])
    std_V = np.exp(0.2 * rng.standard_normal(int(mask_XYZ.sum()))).astype(np.float32)
    if patient:
        std_V[brain.planted_V] *= 1 - EFFECT
    return CachedRun(
        run_id=f"clip-{number}",
        participant_id=f"sub-{number}",
        series_TV=rng.standard_normal((FRAMES, len(std_V)), dtype=np.float32).astype(np.float16),
        mean_V=np.ones_like(std_V),
        std_V=std_V,
        mask_XYZ=mask_XYZ,
        affine=affine,
        tr=2.0,
    )


def _centred(mask_XYZ: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mask in the middle of the grid, and how many voxels it was moved by."""
    places_M3 = np.argwhere(mask_XYZ)
    low, high = places_M3.min(0), places_M3.max(0) + 1
    if (high - low).max() > GRID:
        raise SystemExit(f"the brain is {high - low} voxels large, the grid {GRID}")
    shift = (GRID - (high - low)) // 2 - low
    moved = np.zeros((GRID, GRID, GRID), dtype=bool)
    moved[tuple((places_M3 + shift).T)] = True
    return moved, shift


def spec(edge: int = EDGE, *, whole_grid: bool = False) -> TubeletSpec:
    """Cubes of some voxels over the whole clip."""
    return TubeletSpec(patch_mm=edge * VOXEL_MM, frames=FRAMES, whole_grid=whole_grid)


def brain_model(run: CubeTokens, backbone: str = CLIP_BACKBONE) -> BrainTransformer:
    """The brain Transformer for runs cut like this one."""
    torch.manual_seed(0)
    config = ModelConfig(backbone=backbone)
    return BrainTransformer(load_backbone(backbone, device="cpu", seed=0), run.layout, config)


def forward(rounds: int) -> dict[str, Any]:
    """Seconds of one clip's pass (with and without reading and cutting it) and of one picture's."""
    run = cubes(clip_run(), spec())
    model = brain_model(run).eval()
    batch = collate([run.clip(0)])
    architecture, preprocess = describe_clip(PICTURE)
    pictures = build_open_clip(
        architecture, name=f"clip:{PICTURE}", preprocess=preprocess, weights=None, seed=0
    ).eval()
    pixels_BCHW = torch.randn(PICTURES, 3, *pictures.image_size, generator=torch.Generator().manual_seed(0))
    works: dict[str, Callable[[], Any]] = {
        "picture": lambda: pictures.encode_image(pixels_BCHW),
        "clip": lambda: model(batch),
        "clip, cut anew": lambda: model(collate([run.clip(0)])),
    }
    with torch.inference_mode():
        seconds = in_turns(works, rounds)
        flop = forward_flops(lambda: model(batch))
    picture = seconds["picture"] / PICTURES
    return {
        "tokens": batch.places,
        "tokens_of_the_grid": (GRID // EDGE) ** 3,
        "parameters": sum(p.numel() for p in model.parameters()),
        "gflop": flop / 1e9,
        "picture_s": picture,
        "clip_s": seconds["clip"],
        "units": seconds["clip"] / picture,
        "units_cut_anew": seconds["clip, cut anew"] / picture,
        "swift": {"units": SWIFT_UNITS, "gflop": SWIFT_GFLOP, "parameters": SWIFT_PARAMETERS},
    }


def training(seeds: list[int]) -> list[dict[str, Any]]:
    """Clips a second and final losses of in-brain tokens and of the whole grid, for each seed."""
    people = [clip_run(number, patient=number % 2 == 1) for number in range(PEOPLE)]
    cut = {
        "in the brain": [cubes(run, spec()) for run in people],
        "whole grid": [cubes(run, spec(whole_grid=True)) for run in people],
    }
    return [{"seed": seed, **_trained(cut, seed)} for seed in seeds]


def _trained(cut: dict[str, list[CubeTokens]], seed: int) -> dict[str, Any]:
    """Both ways take each step in turn, on the same people."""
    models = {name: brain_model(runs[0], DEFAULT_BACKBONE).train() for name, runs in cut.items()}
    optimizers = {
        name: torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.05)
        for name, model in models.items()
    }
    rng = np.random.default_rng(seed)
    seconds: dict[str, list[float]] = {name: [] for name in cut}
    losses: dict[str, list[float]] = {name: [] for name in cut}
    for _ in range(STEPS):
        chosen = rng.choice(PEOPLE, BATCH, replace=False)
        labels_B = torch.tensor([float(number % 2) for number in chosen])
        for name, runs in cut.items():
            start = time.perf_counter()
            logits_B = models[name](collate([runs[number].clip(0) for number in chosen]))
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits_B, labels_B)
            optimizers[name].zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(models[name].parameters(), 1.0)
            optimizers[name].step()
            seconds[name].append(time.perf_counter() - start)
            losses[name].append(float(loss.detach()))
    inside, grid = seconds["in the brain"], seconds["whole grid"]
    return {
        "clips_per_second": {name: BATCH / statistics.median(times) for name, times in seconds.items()},
        "ratio": statistics.median(grid) / statistics.median(inside),
        "last_losses": {name: statistics.mean(found[-STEPS // 3 :]) for name, found in losses.items()},
        "losses": losses,
    }


def in_turns(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each, one after the other in every round; the first two rounds do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 2):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def main() -> None:
    """Measure both and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    once = forward(options.rounds)
    trained = training(options.seeds)
    fields = {
        "command": command("benchmarks.brain_tokens"),
        "machine": machine("torch", "timm", "open_clip_torch"),
        "forward": once,
        "training": trained,
    }
    write("brain_tokens", fields, "Tokens of the brain alone", _lines(once, trained))


def _lines(once: dict[str, Any], trained: list[dict[str, Any]]) -> list[str]:
    forward_rows = [
        [
            "brain Transformer",
            f"{once['parameters'] / 1e6:.1f} M",
            f"{once['gflop']:.1f}",
            f"{once['units']:.1f} ({once['units_cut_anew']:.1f} with reading and cutting)",
        ],
        [
            "SwiFT, published configuration",
            "4.3 M",
            f"{SWIFT_GFLOP}",
            f"{SWIFT_UNITS:.0f} (measured earlier)",
        ],
    ]
    training_rows = [
        [
            str(row["seed"]),
            f"{row['clips_per_second']['in the brain']:.2f}",
            f"{row['clips_per_second']['whole grid']:.2f}",
            f"{row['ratio']:.2f}",
            f"{row['last_losses']['in the brain']:.3f}",
            f"{row['last_losses']['whole grid']:.3f}",
        ]
        for row in trained
    ]
    unit = f"one picture through {PICTURE} ({1e3 * once['picture_s']:.0f} ms, batch of {PICTURES})"
    return [
        f"A clip of 96 x 96 x 96 voxels and 20 frames, cubes of 6 voxels: {once['tokens']:,} of"
        f" {once['tokens_of_the_grid']:,} cubes touch the brain.",
        "",
        f"Forward pass in units of {unit}; at most {LARGEST_UNITS} was the aim:",
        "",
        *table(["model", "parameters", "GFLOP", "units"], forward_rows),
        "",
        f"Training, {STEPS} steps of {BATCH} clips, both ways in turns on the same people; losses are means"
        " of the last third of the steps:",
        "",
        *table(
            ["seed", "clips/s, brain", "clips/s, whole grid", "ratio", "loss, brain", "loss, whole grid"],
            training_rows,
        ),
    ]


if __name__ == "__main__":
    main()
