"""How figures of reports are drawn and put into a page: house style, and figure -> data URI."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED = "#1c2733", "#8a96a3"
PATIENT, CONTROL = "#c8553d", "#0b6e99"
SALT = "chiasm"  # of the names within an SVG: the same figure, the same bytes
# What each becomes on a dark page: the same hues, light enough to be read there.
ON_DARK = {INK: "#e4e9ee", MUTED: "#8a96a3", PATIENT: "#e8836c", CONTROL: "#4fb3de"}


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib's settings while a figure of a report is drawn."""
    import matplotlib as mpl

    style: dict[Any, Any] = {
        "font.size": 10,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "text.color": INK,
        "savefig.bbox": "tight",
        "text.parse_math": False,  # the name of a site may hold dollar signs
    }
    with mpl.rc_context(style):
        yield


def data_uri(figure: Figure, kind: str = "svg") -> str:
    """A figure as a picture that a page can hold, "svg" or "png"."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": SALT}):
        figure.savefig(buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    return _uri(buffer.getvalue(), "image/svg+xml" if kind == "svg" else "image/png")


def themed_uri(figure: Figure) -> str:
    """A figure as an SVG without a background, in colours that follow a light or dark theme."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": SALT}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawing = buffer.getvalue()
    light, dark = [], []
    for number, (colour, other) in enumerate(ON_DARK.items()):
        drawing = drawing.replace(colour, f"var(--c{number})")
        light.append(f"--c{number}:{colour};")
        dark.append(f"--c{number}:{other};")
    themes = f":root{{{''.join(light)}}}@media(prefers-color-scheme:dark){{:root{{{''.join(dark)}}}}}"
    opening, rest = drawing.split(" <defs>", 1)
    return _uri(f"{opening} <style>{themes}</style> <defs>{rest}".encode(), "image/svg+xml")


def _uri(content: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"
