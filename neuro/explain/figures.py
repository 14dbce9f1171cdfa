"""Pictures of a map of relevance: a glass brain, and a page to move through it."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import ParameterError
from data.writing import whole_file, write_whole
from neuro.explain.regions import STRONG
from neuro.picture import data_uri, house_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = "RdBu_r"  # red speaks for the positive class, blue against it
HIGHEST = 0.999  # share of the largest value that the threshold may reach
OUTLINE = "#d39a00"  # of what was planted, on white
ICON = re.compile(r'<link\s+rel="icon"[^>]*>')  # the one thing that nilearn's page would fetch
DRAWN_BY_LOT = re.compile(r"-[0-9a-f]{32}\b")  # of the names of its elements
# What nilearn's page lacks: what it is not for, a heading, words for a reader who does not see it.
HOUSE = """<style>
body { margin: 0; color: #1c2733; }
body { font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { padding: 0 1.25rem 2rem; } h1 { font-size: 1.4rem; margin: 1rem 0 .5rem; }
.warning { background: #7a2e1f; color: #fff; padding: .6rem 1.25rem; text-align: center; font-weight: 600; }
</style>
</head>"""
OPENING = """<body>
<div class="warning">For research, not for diagnosis. This is not a medical device.</div>
<main><h1>{title}</h1>
<p>Red speaks for the positive class, blue against it. Click into a slice to move through the brain.</p>"""
REWORDED = (
    (re.compile(r"<title>.*?</title>", re.DOTALL), "<title>{title}</title>"),
    (re.compile(r"</head>"), HOUSE),
    (re.compile(r"<body>"), OPENING),
    (re.compile(r"</body>"), "</main>\n</body>"),
    (re.compile(r'alt="background"'), 'alt="Slices of the brain"'),
    (re.compile(r'alt="colormap"'), 'alt="Colours of the map"'),
    (re.compile(r'alt="overlay"'), 'alt="Slices of the map"'),
    (re.compile(r"<p>Opacity</p>"), "<span>Opacity</span>"),
    (re.compile(r'<input type="range"'), '<input type="range" aria-label="Opacity of the map"'),
)


def glass_brain(image: Any, planted: Any | None = None, strong: float = STRONG) -> str:
    """A map through a transparent brain from three sides, as a PNG data URI.

    Args:
        image: a NIfTI map in MNI space.
        planted: mask of the region where a simulation planted its effect, outlined.
        strong: percentile of |value| in the brain below which nothing is shown.

    Raises:
        ParameterError: a map that is 0 everywhere.
    """
    with house_style():
        return data_uri(_drawn(image, planted, strong), "png")


def write_glass_brain(image: Any, path: Path, planted: Any | None = None, strong: float = STRONG) -> None:
    """As `glass_brain`, into a PNG file, whole or not at all."""
    uri = glass_brain(image, planted, strong)
    with whole_file(path) as draft:
        draft.write_bytes(base64.b64decode(uri.partition(",")[2]))


def write_interactive(image: Any, path: Path, title: str = "", strong: float = STRONG) -> None:
    """A page in which one moves through the map over the MNI template; it fetches nothing.

    Args:
        image: a NIfTI map in MNI space.
        path: the HTML file.
        title: its heading.
        strong: percentile of |value| in the brain below which nothing is coloured.

    Raises:
        ParameterError: a map that is 0 everywhere.
    """
    from nilearn import plotting

    view = plotting.view_img(
        image,
        threshold=_threshold(image, strong),
        cmap=COLOURS,
        symmetric_cmap=True,
        black_bg=False,
        resampling_interpolation="nearest",
    )
    page, count = ICON.subn("", view.get_standalone())
    assert count == 1, "nilearn's page has another head than it had"
    page = DRAWN_BY_LOT.sub("-map", page)  # else the same map would have another page each time
    write_whole(path, _reworded(page, title or "A map over the brain"))


def _reworded(page: str, title: str) -> str:
    for place, words in REWORDED:
        said = words.replace("{title}", html.escape(title))
        page, count = place.subn(lambda _, said=said: said, page)  # type: ignore[misc]
        assert count == 1, f"nilearn's page has {count} of {place.pattern}"
    return page


def _drawn(image: Any, planted: Any | None, strong: float) -> Figure:
    from matplotlib.figure import Figure
    from nilearn import plotting

    figure = Figure(figsize=(8.4, 3.0))
    display = plotting.plot_glass_brain(
        image,
        figure=figure,
        threshold=_threshold(image, strong),
        cmap=COLOURS,
        symmetric_cbar=True,
        plot_abs=False,
        colorbar=True,
        resampling_interpolation="nearest",
    )
    if planted is not None:
        display.add_contours(planted, levels=[0.5], colors=OUTLINE, linewidths=1.5)
    return figure


def _threshold(image: Any, strong: float) -> float:
    values = np.abs(np.nan_to_num(image.get_fdata()))
    if not values.any():
        raise ParameterError("map", must_be="one with values", got="0 everywhere")
    # A region that is larger than what is shown would else hide with its own value.
    return float(min(np.percentile(values[values > 0], strong), HIGHEST * values.max()))
