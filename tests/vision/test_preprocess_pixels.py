"""The quick way from pictures to pixels, against the one that is open_clip's to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data.photos import load_photo
from vision.backbones.preprocess import INTERPOLATIONS, RESIZE_MODES, Preprocess
from vision.retrieval.picture_reader import PictureReader

CLIP = Preprocess(size=(224, 224), resize_to=(224, 224), mean=(0.48, 0.46, 0.41), std=(0.27, 0.26, 0.28))


def reference(preprocess: Preprocess, image: Image.Image) -> np.ndarray:
    """Levels 0..255 (3, H, W) by calling the preprocessing, that is by Pillow."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocess.mean, preprocess.std))
    return (preprocess(image) * std + mean).mul(255).round().int().numpy()


def smooth(height: int, width: int, rng: np.random.Generator) -> Image.Image:
    """A picture with gradients and edges, as photographs have."""
    small = rng.integers(0, 256, (max(2, height // 8), max(2, width // 8), 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("interpolation", sorted(INTERPOLATIONS))
@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize("box", [(32, 32), (24, 40)])
def test_pixels_are_those_of_pillow_within_a_level(
    interpolation: str, mode: str, box: tuple[int, int], rng: np.random.Generator
) -> None:
    preprocess = Preprocess(
        size=(32, 32), resize_to=box, resize_mode=mode, interpolation=interpolation, fill=(9, 100, 255)
    )
    for height, width in ((60, 90), (91, 61), (20, 11), (32, 32), (7, 400)):
        image = smooth(height, width, rng)
        pixels_CHW = preprocess.pixels(np.array(image))
        assert (pixels_CHW.shape, pixels_CHW.dtype) == ((3, 32, 32), np.uint8)
        apart = np.abs(pixels_CHW - reference(preprocess, image))
        assert apart.max() <= (0 if interpolation == "nearest" else 2)
        assert (apart > 1).mean() <= 1e-3


@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(RESIZE_MODES))
@settings(max_examples=60, deadline=None)
def test_any_size_gives_the_size_of_the_model(height: int, width: int, mode: str) -> None:
    preprocess = Preprocess(size=(16, 20), resize_to=(18, 18), resize_mode=mode)
    assert preprocess.pixels(np.zeros((height, width, 3), np.uint8)).shape == (3, 16, 20)


def test_normalising_a_batch_is_normalising_each(rng: np.random.Generator) -> None:
    image = smooth(224, 224, rng)  # which needs no resize
    pixels_CHW = torch.from_numpy(CLIP.pixels(np.array(image)))
    batch_BCHW = CLIP.normalise(torch.stack([pixels_CHW, 255 - pixels_CHW]))
    assert torch.equal(batch_BCHW[0], CLIP(image))
    assert batch_BCHW.dtype == torch.float32


def test_the_longest_side_of_the_box_is_told() -> None:
    assert Preprocess(size=(8, 8), resize_to=(24, 40)).resized_side == 40


@pytest.mark.shared
@pytest.mark.parametrize(("decode", "levels", "mean"), [("exact", 1, 0.01), ("fast", 3, 0.4)])
def test_real_photographs_keep_their_levels(
    decode: str, levels: int, mean: float, shared_data: Path, tmp_path: Path
) -> None:
    """Within so many levels, but for a few values in a million, which are one or two further off."""
    reader = PictureReader(preprocess=CLIP, decode=decode)  # type: ignore[arg-type]
    for path in sorted((shared_data / "photos").iterdir())[:5]:
        large = tmp_path / "large.jpg"
        load_photo(path).image.resize((4000, 3000), Image.Resampling.BICUBIC).save(large, quality=90)
        for file in (path, large):
            apart = np.abs(reader.read(file)[1] - reference(CLIP, Image.open(file)))
            assert apart.max() <= levels + 2
            assert apart.mean() <= mean
            assert (apart > levels).mean() <= 1e-4
