"""Pictures for terminals: each sequence is read back by a slow reader of its protocol."""

from __future__ import annotations

import base64
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from vision.preview import SEQUENCES, iterm2_sequence, kitty_sequence, sixel_sequence, terminal_protocol


@pytest.fixture
def picture(rng: np.random.Generator) -> Image.Image:
    """Blocks of a few colours: nothing is lost when a palette is made of it."""
    colours = rng.integers(0, 256, (6, 3), dtype=np.uint8)
    blocks = colours[rng.integers(0, 6, (5, 7))]
    return Image.fromarray(blocks.repeat(5, axis=0).repeat(9, axis=1))


def read_kitty(text: str) -> Image.Image:
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
    assert "".join(f"\x1b_G{keys};{data}\x1b\\" for keys, data in parts) == text
    assert parts[0][0].startswith("a=T,f=100,q=2,")
    assert [keys[-3:] for keys, _ in parts] == ["m=1"] * (len(parts) - 1) + ["m=0"]
    assert all(len(data) <= 4096 for _, data in parts)
    return Image.open(BytesIO(base64.b64decode("".join(data for _, data in parts))))


def read_iterm2(text: str) -> Image.Image:
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+);width=(\d+)px;height=(\d+)px:(.*)\x07", text)
    assert found is not None
    data = base64.b64decode(found[4])
    picture = Image.open(BytesIO(data))
    assert (int(found[1]), int(found[2]), int(found[3])) == (len(data), *picture.size)
    return picture


def read_sixel(text: str) -> Image.Image:
    head = re.match(r'\x1bP0;1q"1;1;(\d+);(\d+)', text)
    assert head is not None
    assert text.endswith("\x1b\\")
    width, height = int(head[1]), int(head[2])
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    palette: dict[int, tuple[int, ...]] = {}
    x, top, colour = 0, 0, -1
    for token in re.finditer(
        r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)(.)|([?-~])|(\$)|(-)", text[head.end() : -2]
    ):
        index, *rgb, count, repeated, letter, back, down = token.groups()
        if index is not None and rgb[0] is not None:
            palette[int(index)] = tuple(round(int(v) * 2.55) for v in rgb)
        elif index is not None:
            colour = int(index)
        elif back:
            x = 0
        elif down:
            x, top = 0, top + 6
        else:
            bits = ord(repeated or letter) - 63
            for column in range(x, x + int(count or 1)):
                for row in range(6):
                    if bits >> row & 1:
                        pixels[top + row, column] = palette[colour]
            x += int(count or 1)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("write", "read", "off"),
    [(kitty_sequence, read_kitty, 0), (iterm2_sequence, read_iterm2, 0), (sixel_sequence, read_sixel, 2)],
)
def test_what_is_written_is_the_picture(write, read, off, picture: Image.Image) -> None:  # type: ignore[no-untyped-def]
    """Sixel speaks of percent: a level of 255 is off by at most 1.3 either way."""
    seen = np.asarray(read(write(picture)).convert("RGB"), dtype=int)
    assert np.abs(seen - np.asarray(picture, dtype=int)).max() <= off


def test_a_large_picture_goes_in_chunks(rng: np.random.Generator) -> None:
    noise = Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8))
    text = kitty_sequence(noise)
    assert text.count("\x1b_G") > 2
    assert np.array_equal(np.asarray(read_kitty(text)), np.asarray(noise))


@pytest.mark.parametrize(
    ("environ", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "xterm-256color", "TMUX": "/x", "TERM_PROGRAM": "iTerm.app"}, None),
        ({}, None),
    ],
)
def test_terminals_are_told_apart(environ: dict[str, str], protocol: str | None) -> None:
    assert terminal_protocol(environ) == protocol
    assert protocol is None or protocol in SEQUENCES
