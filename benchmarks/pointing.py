"""Do maps of `vision explain` point at what is asked for, and does that come from what the model has learned?

    python -m benchmarks.pointing

Pairs of photographs on one canvas, with embedded:lite: more of the heat must lie in the half that is named.
What gradients are taken of was chosen on the first half of the pairs; the second was looked at when all
was done. Then the weights are shuffled, layer by layer from the top. Transformers play with two coloured
shapes on a picture, and are trained here. Writes benchmarks/results/pointing.json and .md.
"""

from __future__ import annotations

import argparse
import copy
import types
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks import coloured_shapes as shapes
from benchmarks.outcome import command, machine, table, write
from benchmarks.photographs import Subject, add_photos_option, subjects
from benchmarks.pointing_cases import (
    Axis,
    Pointed,
    alike,
    beside_noise,
    canvas,
    cascade,
    lite_stages,
    pairs,
    pointed,
)
from data.photos import load_photo
from vision.backbones import Backbone, load_backbone
from vision.explain import explain, methods_for
from vision.store.recall import wilson

CANVASES = [(fit, axis) for fit in ("letterbox", "crop") for axis in ("left-right", "top-bottom")]
LITE_SHUFFLES = 8
SHAPE_PAIRS, SHAPE_SHUFFLES = 100, 20


def main() -> None:
    """Play everything and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_photos_option(parser)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each Transformer")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    backbone = load_backbone("embedded:lite", device="cpu", shared=False)
    drawn = pairs(subjects(options.photos))
    half = len(drawn) // 2
    fields: dict[str, Any] = {
        "command": command("benchmarks.pointing"),
        "machine": machine("torch", "timm", "open_clip_torch"),
        "pairs": {"first half": half, "second half": len(drawn) - half},
        "evidence": {"first half": play(backbone, drawn[:half]), "second half": play(backbone, drawn[half:])},
        "deletion": deletion(backbone, [pair[0] for pair in drawn[half:]]),
    }
    backbone.evidence = types.MethodType(Backbone.evidence, backbone)  # type: ignore[method-assign]
    fields["cosine"] = {
        "first half": play(backbone, drawn[:half]),
        "second half": play(backbone, drawn[half:]),
    }
    fields["shuffled"] = shuffled_lite(drawn[half:])
    fields["shapes"] = [
        row
        for pooling in shapes.TOWERS
        for seed in range(options.seeds)
        for row in play_shapes(pooling, seed)
    ]
    write("pointing", fields, "Where explanations point", _lines(fields))


def play(backbone: Backbone, drawn: list[tuple[Subject, Subject]]) -> dict[str, Any]:
    """Both subjects of each pair are asked for, on every canvas, and beside noise."""
    found: dict[str, list[Pointed]] = defaultdict(list)
    rng = np.random.default_rng(0)
    for pair in drawn:
        images = [load_photo(subject.path).image for subject in pair]
        texts_E = backbone.encode_text([subject.text for subject in pair]).numpy()
        for number, text_E in enumerate(texts_E):
            for fit, axis in CANVASES:
                map_RC = explain(backbone, canvas(*images, fit, axis), text_E).map_RC
                found[f"{fit}, {axis}"].append(pointed(map_RC, number, axis))
            map_RC = explain(backbone, beside_noise(images[number], number, rng), text_E).map_RC
            found["beside noise"].append(pointed(map_RC, number, "left-right"))
    return {name: _shares(hits) for name, hits in found.items()}


def deletion(backbone: Backbone, chosen: list[Subject], part: int = 4) -> dict[str, float]:
    """Mean loss of cosine when the hottest quarter of what the model sees is blurred, and when any is."""
    rng = np.random.default_rng(0)
    losses = []
    for subject in chosen:
        picture_HWC = load_photo(subject.path).pixels_HWC
        text_E = backbone.encode_text([subject.text])[0]
        map_RC = explain(backbone, picture_HWC, text_E.numpy()).map_RC
        pixels_1CHW = backbone.preprocess.normalise(
            torch.from_numpy(backbone.preprocess.pixels(picture_HWC)).unsqueeze(0)
        )
        size = pixels_1CHW.shape[2:]
        blurred_1CHW = F.interpolate(F.avg_pool2d(pixels_1CHW, 64), size, mode="bilinear")
        versions = [pixels_1CHW]
        for order in (np.argsort(-map_RC, axis=None), rng.permutation(map_RC.size)):
            gone_RC = np.zeros(map_RC.size, np.float32)
            gone_RC[order[: map_RC.size // part]] = 1
            gone = F.interpolate(torch.from_numpy(gone_RC.reshape(1, 1, *map_RC.shape)), size)
            versions.append(pixels_1CHW * (1 - gone) + blurred_1CHW * gone)
        whole, hottest, random = (backbone.encode_image(torch.cat(versions)) @ text_E).tolist()
        losses.append((whole - hottest, whole - random))
    hottest, random = np.mean(losses, axis=0)
    return {"pictures": len(losses), "hottest quarter": float(hottest), "random quarter": float(random)}


def shuffled_lite(drawn: list[tuple[Subject, Subject]]) -> list[dict[str, Any]]:
    """From the top down: how much a map keeps of the true one, and where it points.

    One shuffle is one model, which may lean to some side by luck: so there are several, of some pairs each.
    """
    kept: dict[int, list[float]] = defaultdict(list)
    hits: dict[int, list[Pointed]] = defaultdict(list)
    for seed in range(LITE_SHUFFLES):
        backbone = load_backbone("embedded:lite", device="cpu", shared=False)
        cases = list(_crops(backbone, drawn[seed::LITE_SHUFFLES]))
        true = [explain(backbone, picture_HWC, text_E).map_RC for picture_HWC, text_E, _ in cases]
        for stage in cascade(lite_stages(backbone.classifier), seed):  # type: ignore[attr-defined]
            for (picture_HWC, text_E, half), true_RC in zip(cases, true, strict=True):
                map_RC = explain(backbone, picture_HWC, text_E).map_RC
                kept[stage].append(alike(map_RC, true_RC))
                hits[stage].append(pointed(map_RC, half, "left-right"))
    return [
        {"stages": stage, "rank correlation": float(np.mean(kept[stage])), **_shares(hits[stage])}
        for stage in hits
    ]


def _crops(
    backbone: Backbone, drawn: list[tuple[Subject, Subject]]
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    for pair in drawn:
        picture_HWC = canvas(*(load_photo(subject.path).image for subject in pair), "crop", "left-right")
        texts_E = backbone.encode_text([subject.text for subject in pair]).numpy()
        yield from ((picture_HWC, text_E, half) for half, text_E in enumerate(texts_E))


def play_shapes(pooling: str, seed: int) -> list[dict[str, Any]]:
    """Every method of a Transformer that was trained here, and the same when its weights are shuffled."""
    backbone = shapes.trained(pooling, seed=seed)
    texts_E = backbone.encode_text(shapes.CAPTIONS).numpy()
    methods = methods_for(backbone)
    trained = {method: shape_hits(backbone, texts_E, method, SHAPE_PAIRS, 5) for method in methods}
    shuffled: dict[str, list[Pointed]] = defaultdict(list)
    tower = backbone.model.visual
    learned = copy.deepcopy(tower.state_dict())
    for shuffle in range(SHAPE_SHUFFLES):
        tower.load_state_dict(learned)
        list(cascade([tower], shuffle))
        for method in methods:
            count = SHAPE_PAIRS // SHAPE_SHUFFLES
            shuffled[method] += shape_hits(backbone, texts_E, method, count, shuffle)
    return [
        {
            "pooling": pooling,
            "seed": seed,
            "method": method,
            "trained": _shares(trained[method]),
            "shuffled": _shares(shuffled[method]),
        }
        for method in methods
    ]


def shape_hits(backbone: Backbone, texts_E: np.ndarray, method: str, count: int, seed: int) -> list[Pointed]:
    """Both things of so many pictures are asked for."""
    rng = np.random.default_rng(seed)
    hits = []
    for number in range(count):
        axis: Axis = "top-bottom" if number % 2 else "left-right"
        things = shapes.unlike(rng)
        picture_HWC = shapes.two_things(rng, things, axis)
        for half, thing in enumerate(things):
            map_RC = explain(backbone, picture_HWC, texts_E[thing], method=method).map_RC
            hits.append(pointed(map_RC, half, axis))
    return hits


def _shares(hits: list[Pointed]) -> dict[str, Any]:
    right, hottest = [float(hit.mass) for hit in hits], [float(hit.hottest) for hit in hits]
    return {
        "maps": len(hits),
        "mass": float(np.mean(right)),
        "mass_interval": wilson(right, 1),
        "hottest": float(np.mean(hottest)),
        "hottest_interval": wilson(hottest, 1),
    }


def _words(share: dict[str, Any], what: str = "mass") -> str:
    low, high = share[f"{what}_interval"]
    return f"{share[what]:.3f} ({low:.3f} to {high:.3f})"


def _lines(fields: dict[str, Any]) -> list[str]:
    held_out, cosine = fields["evidence"]["second half"], fields["cosine"]["second half"]
    first, first_cosine = fields["evidence"]["first half"], fields["cosine"]["first half"]
    rows = [
        [
            name,
            _words(held_out[name]),
            _words(held_out[name], "hottest"),
            f"{first[name]['mass']:.3f}",
            _words(cosine[name]),
            f"{first_cosine[name]['mass']:.3f}",
        ]
        for name in held_out
    ]
    lost = fields["deletion"]
    return [
        "Share of maps with more heat in the half that is named, chance 0.5, with 95 % intervals (Wilson):"
        f" embedded:lite, grad-cam, {held_out['beside noise']['maps']} maps a canvas, of"
        f" {fields['pairs']['second half']} pairs that nothing was chosen on. *Hottest*: the hottest cell is"
        " there. *The cosine's own*: with the gradient of the cosine itself.",
        "",
        *table(
            ["canvas", "more heat", "hottest", "first half", "the cosine's own", "its first half"],
            rows,
        ),
        "",
        f"Blurring the hottest quarter of {lost['pictures']} photographs takes"
        f" {lost['hottest quarter']:.3f} of"
        f" the cosine, blurring any quarter {lost['random quarter']:.3f}.",
        "",
        f"Weights shuffled from the top down, in {LITE_SHUFFLES} ways, canvas crop, left-right:",
        "",
        *table(
            ["stages shuffled", "rank correlation with the true map", "more heat"],
            [
                [f"{row['stages']}", f"{row['rank correlation']:.2f}", _words(row)]
                for row in fields["shuffled"]
            ],
        ),
        "",
        f"Transformers of two layers trained on coloured shapes, {2 * SHAPE_PAIRS} maps each;"
        f" shuffled in {SHAPE_SHUFFLES} ways:",
        "",
        *table(
            ["pooling", "training", "method", "more heat", "hottest", "weights shuffled"],
            [
                [
                    row["pooling"],
                    f"{row['seed']}",
                    row["method"],
                    _words(row["trained"]),
                    f"{row['trained']['hottest']:.3f}",
                    _words(row["shuffled"]),
                ]
                for row in fields["shapes"]
            ],
        ),
    ]


if __name__ == "__main__":
    main()
