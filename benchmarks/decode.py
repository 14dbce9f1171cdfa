"""How quickly are JPEGs decoded and preprocessed by one core, against open_clip's own transform?

    python -m benchmarks.decode --photos ../shared/data/photos

Two sizes: the photographs as they are (about 0.3 megapixels), and the same scaled up to 4000 x 3000 at
quality 90. The ways take turns at each file, each first as often as the others; the figures are medians over
the files. Also how far the levels (0..255) are from open_clip's. Writes benchmarks/results/decode.json and
decode.md.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from benchmarks.outcome import command, machine, table, write
from benchmarks.photographs import add_photos_option
from data.photos import PhotoFile, photo_file
from vision.backbones.open_clip_build import clip_preprocess
from vision.retrieval.picture_reader import PictureReader
from vision.store.place import DECODE_MODES

BARS = {("fast", "12 MP"): 5.5, ("fast", "0.3 MP"): 2.4, ("exact", "12 MP"): 2.8, ("exact", "0.3 MP"): 2.4}
SIDE = 224

Levels = np.ndarray[Any, np.dtype[np.int16]]
Way = Callable[[PhotoFile], Any]


def ways() -> dict[str, Way]:
    """The ways to compare, from the bytes of a JPEG in memory to pixels: the reference first."""
    transform = image_transform_v2(PreprocessCfg(size=SIDE), is_train=False)
    config = PreprocessCfg(size=SIDE)
    preprocess = clip_preprocess(SIDE, {"mean": config.mean, "std": config.std, "interpolation": "bicubic"})
    readers = {mode: PictureReader(preprocess=preprocess, decode=mode) for mode in DECODE_MODES}

    def reference(file: PhotoFile) -> torch.Tensor:
        pixels_CHW: torch.Tensor = transform(Image.open(io.BytesIO(file.data)))
        return pixels_CHW

    def way(reader: PictureReader) -> Way:
        return lambda file: reader.pixels(file)[1]

    return {"open_clip": reference} | {mode: way(reader) for mode, reader in readers.items()}


def levels(pixels_CHW: Any) -> Levels:
    """Pixels -> levels 0..255; open_clip's are normalised, ours are not yet."""
    if not isinstance(pixels_CHW, torch.Tensor):
        return np.asarray(pixels_CHW, dtype=np.int16)
    config = PreprocessCfg()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (config.mean, config.std))
    result: Levels = ((pixels_CHW * std + mean) * 255).round().short().numpy()
    return result


def compare(pictures: Iterable[bytes], repeats: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of each way, its speed against the first, and its distance in levels."""
    compared = ways()
    seconds: dict[str, list[float]] = {name: [] for name in compared}
    apart: dict[str, list[np.ndarray[Any, Any]]] = {name: [] for name in compared}
    for data in pictures:
        file = photo_file(Path("x.jpg"), data)
        expected = levels(compared["open_clip"](file))
        for name, way in compared.items():
            apart[name].append(np.bincount(np.abs(levels(way(file)) - expected).ravel(), minlength=256))
        order = list(compared)
        rounds = []
        for _ in range(repeats):
            order = order[1:] + order[:1]
            rounds.append({name: _timed(compared[name], file) for name in order})
        for name in compared:
            seconds[name].append(min(times[name] for times in rounds))
    base = np.asarray(seconds["open_clip"])
    return {
        name: {
            "ms": float(np.median(times)) * 1e3,
            "speed": float(np.median(base / np.asarray(times))),
            **_distance(np.sum(apart[name], axis=0)),
        }
        for name, times in seconds.items()
    }


def _timed(way: Way, file: PhotoFile) -> float:
    started = time.perf_counter()
    way(file)
    return time.perf_counter() - started


def _distance(counts: np.ndarray[Any, Any]) -> dict[str, float]:
    steps = np.arange(len(counts))
    return {
        "max_levels": int(steps[counts > 0].max()),
        "mean_levels": float((counts * steps).sum() / counts.sum()),
        "above_1": float(counts[2:].sum() / counts.sum()),
        "above_3": float(counts[4:].sum() / counts.sum()),
    }


def enlarged(files: list[Path]) -> Iterator[bytes]:
    """Each photograph at 4000 x 3000, quality 90."""
    for path in files:
        buffer = io.BytesIO()
        image = Image.open(path).convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
        image.save(buffer, "JPEG", quality=90)
        yield buffer.getvalue()


def main() -> None:
    """Compare at both sizes and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_photos_option(parser)
    parser.add_argument("--small", type=int, default=250, help="photographs as they are")
    parser.add_argument("--large", type=int, default=40, help="photographs of 12 megapixels")
    parser.add_argument(
        "--repeats", type=int, default=3, help="readings of each file, of which the best counts"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = sorted(options.photos.glob("*.[jJ][pP]*[gG]"))
    spread = files[:: max(1, len(files) // options.large)][: options.large]
    rows = []
    sizes = (("12 MP", enlarged(spread)), ("0.3 MP", (path.read_bytes() for path in files[: options.small])))
    for size, pictures in sizes:
        for name, figures in compare(pictures, options.repeats).items():
            rows.append({"size": size, "way": name, **figures, "bar": BARS.get((name, size))})
            print(rows[-1], flush=True)
    fields = {"command": command("benchmarks.decode"), "machine": machine("pillow", "simplejpeg", "torch")}
    write("decode", fields | {"rows": rows}, "Decoding and preprocessing, one core", _lines(rows))


def _lines(rows: list[dict[str, Any]]) -> list[str]:
    heads = ("size", "way", "ms", "speed", "at least", "most levels off", "mean", "share above 1", "above 3")
    cells = [
        (
            row["size"],
            row["way"],
            f"{row['ms']:.2f}",
            f"{row['speed']:.2f}x",
            f"{row['bar'] or ''}",
            f"{row['max_levels']}",
            f"{row['mean_levels']:.4f}",
            f"{row['above_1']:.1e}",
            f"{row['above_3']:.1e}",
        )
        for row in rows
    ]
    words = f"JPEG to {SIDE} x {SIDE} pixels, medians over the files; levels of 255 off open_clip's."
    return [words, "", *table(heads, cells)]


if __name__ == "__main__":
    main()
