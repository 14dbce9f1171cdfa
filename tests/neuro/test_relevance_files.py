"""What is written of a relevance: images in mm, pictures, pages that fetch nothing, tables."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data.errors import ParameterError
from data.parcels.atlases import load_atlas
from neuro.classifier import ParkinsonClassifier
from neuro.explain import DEFAULT, METHODS, Options, explain_run, relevance
from neuro.explain.figures import glass_brain, write_glass_brain, write_interactive
from neuro.tokens import RunTokens


@pytest.fixture(scope="module")
def brain() -> nib.Nifti1Image:
    """A blob in the left putamen, 4 mm voxels."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -90, -126, -72
    ijk = np.stack(np.meshgrid(*map(np.arange, (46, 55, 46)), indexing="ij"), -1)
    mm = ijk @ affine[:3, :3].T + affine[:3, 3]
    inside = np.linalg.norm(mm / [70, 95, 65], axis=-1) < 1
    values = np.exp(-((mm - [-26, 0, 2]) ** 2).sum(-1) / 300) + 0.01
    return nib.Nifti1Image(np.where(inside, values, 0).astype(np.float32), affine)


def test_a_run_is_explained_into_two_files(
    fitted: ParkinsonClassifier, tokens: list[RunTokens], tmp_path: Path
) -> None:
    out = tmp_path / "new" / "folder"
    for run in tokens[:2]:  # the second in the first one's place
        found = explain_run(fitted, run, DEFAULT, out)
    assert sorted(path.name for path in out.iterdir()) == ["regions.tsv", "relevance.nii.gz"]
    assert found.image == out / "relevance.nii.gz"
    assert found.table == out / "regions.tsv"
    image = nib.load(found.image)
    np.testing.assert_array_equal(image.affine, tokens[1].affine)
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), found.relevance.volume())
    np.testing.assert_array_equal(found.relevance.values_S, relevance(fitted, tokens[1]).values_S)
    table = pd.read_csv(found.table, sep="\t")
    assert set(table["region"]) <= set(load_atlas("aal").regions)
    assert (table["mean_abs"].diff().dropna() <= 0).all()
    assert len(table) > 50


def test_outside_mni_space_no_atlas_names_a_place(
    fitted: ParkinsonClassifier, tokens: list[RunTokens], tmp_path: Path
) -> None:
    (tmp_path / "regions.tsv").write_text("of another run")
    found = explain_run(fitted, tokens[0], "votes", tmp_path, in_mni=False)
    assert found.table is None
    assert [path.name for path in tmp_path.iterdir()] == ["relevance.nii.gz"]


def test_regions_of_an_unknown_atlas_have_a_table_alone(tmp_path: Path) -> None:
    series = np.random.default_rng(0).normal(size=(8, 20, 4)) * np.array([1, 2, 3, 4])
    fitted = ParkinsonClassifier(device="cpu").set_params(training__epochs=1).fit(series, [0, 1] * 4)
    found = explain_run(fitted, fitted.tokens(series)[0], "votes", tmp_path)
    assert found.image is None
    assert set(pd.read_csv(tmp_path / "regions.tsv", sep="\t")["region"]) == {1, 2, 3, 4}


def test_a_model_to_which_nothing_is_relevant_is_told(
    fitted: ParkinsonClassifier, tokens: list[RunTokens], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(_model: object, run: RunTokens, _options: Options) -> tuple[np.ndarray, None]:
        return np.zeros(len(run.centres_S3), np.float32), None

    silent = METHODS["votes"].__class__(explain=nothing, about="")
    monkeypatch.setitem(METHODS, "votes", silent)
    with pytest.raises(ParameterError, match="relevance must be above 0 somewhere"):
        explain_run(fitted, tokens[0], "votes", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_glass_brain_is_a_picture_with_colour_where_the_map_is_strong(
    brain: nib.Nifti1Image, tmp_path: Path
) -> None:
    write_glass_brain(
        brain,
        tmp_path / "map.png",
        planted=nib.Nifti1Image((brain.get_fdata() > 0.5).astype(np.uint8), brain.affine),
    )
    pixels = np.asarray(Image.open(tmp_path / "map.png").convert("RGB")).astype(int)
    assert pixels.shape[1] > 2 * pixels.shape[0]
    red = (pixels[..., 0] > pixels[..., 2] + 60).mean()
    assert 0.001 < red < 0.2
    uri = glass_brain(brain)
    assert base64.b64decode(uri.removeprefix("data:image/png;base64,"))[:4] == b"\x89PNG"


def test_the_page_fetches_nothing(brain: nib.Nifti1Image, tmp_path: Path) -> None:
    write_interactive(brain, tmp_path / "map.html", title="A map & more")
    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    write_interactive(brain, tmp_path / "again.html", title="A map & more")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page
    assert "http://" not in page
    assert "https://" not in page
    tags = r"""<(?:script|img|link|iframe|object)\b[^>]*\b(?:src|href|data)\s*=\s*["'](?!data:|#)"""
    assert not re.search(rf"""{tags}|url\((?!["']?data:)|@import""", page)
    assert page.count("A map &amp; more") == 2  # title and heading
    assert "base64" in page


def test_an_empty_map_has_no_picture(brain: nib.Nifti1Image, tmp_path: Path) -> None:
    empty = nib.Nifti1Image(np.zeros(brain.shape, np.float32), brain.affine)
    with pytest.raises(ParameterError, match="map must be one with values"):
        glass_brain(empty)
    with pytest.raises(ParameterError, match="map must be one with values"):
        write_interactive(empty, tmp_path / "map.html")


def test_a_region_that_is_larger_than_what_is_shown_is_shown(brain: nib.Nifti1Image, tmp_path: Path) -> None:
    """Of few regions the strongest may be more than the strongest 5 % of voxels, all of one value."""
    inside = brain.get_fdata() > 0
    left = inside & (np.arange(inside.shape[0])[:, None, None] < 16)
    assert left.sum() > 0.06 * inside.sum()
    values = np.where(left, 2.0, np.where(inside, 0.5, 0)).astype(np.float32)
    write_glass_brain(nib.Nifti1Image(values, brain.affine), tmp_path / "map.png")
    pixels = np.asarray(Image.open(tmp_path / "map.png").convert("RGB")).astype(int)
    assert (pixels[..., 0] > pixels[..., 2] + 60).mean() > 0.01
