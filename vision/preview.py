"""Pictures inside the terminal, by the three protocols that terminals know: kitty's, iTerm2's, and sixel.

- kitty graphics protocol (kitty, Ghostty, Konsole): https://sw.kovidgoyal.net/kitty/graphics-protocol/
- iTerm2 inline images (iTerm2, WezTerm, mintty, VS Code): https://iterm2.com/documentation-images.html
- sixel (DEC VT340; foot, mlterm, xterm -ti vt340, Windows Terminal): six rows of pixels to a band
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

KITTY_CHUNK = 4096  # bytes of base64 that one escape sequence may carry
SIXEL_COLOURS = 256
BAND = 6


def terminal_protocol(environ: Mapping[str, str]) -> str | None:
    """Which protocol the terminal of this environment knows: "kitty", "iterm2", "sixel", or None.

    Told by the variables that terminals set; one that can but does not say so needs to be named by hand.
    """
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if environ.get("TMUX") or term.startswith(("screen", "tmux")):
        return None  # a multiplexer swallows or garbles them
    if "KITTY_WINDOW_ID" in environ or term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty":
        return "kitty"
    if program in ("iTerm.app", "WezTerm", "mintty", "vscode"):
        return "iterm2"
    if term.startswith(("foot", "mlterm", "contour")) or "sixel" in term or "WT_SESSION" in environ:
        return "sixel"
    return None


def kitty_sequence(image: Image.Image) -> str:
    """Picture -> kitty's escape sequences: transmit as PNG in chunks, and show at once without an answer."""
    text = base64.standard_b64encode(_png(image)).decode("ascii")
    chunks = [text[start : start + KITTY_CHUNK] for start in range(0, len(text), KITTY_CHUNK)]
    lines = []
    for number, chunk in enumerate(chunks):
        keys = "a=T,f=100,q=2," if number == 0 else ""
        lines.append(f"\x1b_G{keys}m={int(number < len(chunks) - 1)};{chunk}\x1b\\")
    return "".join(lines)


def iterm2_sequence(image: Image.Image) -> str:
    """Picture -> iTerm2's escape sequence, a PNG at its own size in pixels."""
    data = _png(image)
    keys = f"inline=1;size={len(data)};width={image.width}px;height={image.height}px"
    return f"\x1b]1337;File={keys}:{base64.standard_b64encode(data).decode('ascii')}\x07"


def sixel_sequence(image: Image.Image) -> str:
    """Picture -> sixels in a palette of its own of at most 256 colours."""
    coloured = image.convert("RGB").quantize(SIXEL_COLOURS)
    palette = np.asarray(coloured.getpalette("RGB"), dtype=int).reshape(-1, 3)
    indices_HW = np.asarray(coloured)
    used = np.unique(indices_HW)
    colours = (f"#{index};2;" + ";".join(f"{round(v / 2.55)}" for v in palette[index]) for index in used)
    bands = (_band(indices_HW[top : top + BAND]) for top in range(0, image.height, BAND))
    return f'\x1bP0;1q"1;1;{image.width};{image.height}{"".join(colours)}{"-".join(bands)}\x1b\\'


SEQUENCES: dict[str, Callable[[Image.Image], str]] = {
    "kitty": kitty_sequence,
    "iterm2": iterm2_sequence,
    "sixel": sixel_sequence,
}


def _band(indices_RW: npt.NDArray[np.uint8]) -> str:
    """Up to six rows of palette indices -> one line per colour, each written over the last."""
    bits_R1 = (1 << np.arange(len(indices_RW)))[:, None]
    lines = []
    for index in np.unique(indices_RW):
        columns_W = ((indices_RW == index) * bits_R1).sum(axis=0)
        lines.append(f"#{index}" + "".join(_runs(columns_W)))
    return "$".join(lines)


def _runs(columns_W: npt.NDArray[np.int64]) -> Iterator[str]:
    for value, run in itertools.groupby(columns_W.tolist()):
        letter, length = chr(63 + value), sum(1 for _ in run)
        yield letter * length if length < 4 else f"!{length}{letter}"


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()
