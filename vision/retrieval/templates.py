"""Sentences with a gap for a label, several of which make one prompt ensemble.

A set is named ("imagenet", OpenAI's 80 for ImageNet; "simple", 7 of them), or read from a file of one
template a line, the gap written {}.
"""

from __future__ import annotations

from pathlib import Path

from data.errors import BadFileError
from vision.prompts import GAP

NAMED = ("imagenet", "simple")


def load_templates(source: str | Path = "simple") -> tuple[str, ...]:
    """The templates of a named set, or of a file; empty lines and those that begin with # are passed over.

    Raises:
        BadFileError: no such file, no template in it, or one whose gap is missing or is not alone.
        MissingDependencyError: a named set, and open_clip is not installed.
    """
    if str(source) in NAMED:
        from vision.backbones.open_clip_data import prompt_templates

        return prompt_templates(str(source))
    lines = read_lines(Path(source), "templates", do=f"name a file, or one of the sets {', '.join(NAMED)}")
    for line in lines:
        if line.count(GAP) != 1:
            must_be = "a sentence with one gap, written {}"
            raise BadFileError("template", must_be=must_be, got=repr(line), path=source)
    return tuple(lines)


def read_lines(path: Path, what: str, *, do: str = "", comment: str = "#") -> list[str]:
    """The lines of a small text file, trimmed, without the empty ones and comments.

    Args:
        what: what the file holds, for errors.
        do: what can be done, for errors.
        comment: how lines to pass over begin; nothing where every line counts.

    Raises:
        BadFileError: it cannot be read, or nothing is in it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        found = getattr(error, "strerror", None) or str(error)
        raise BadFileError(what, must_be="a file of lines in UTF-8", got=found, do=do, path=path) from error
    trimmed = (line.strip() for line in text.splitlines())
    lines = [line for line in trimmed if line and not (comment and line.startswith(comment))]
    if not lines:
        raise BadFileError(what, must_be="at least one line of words", got="none", path=path)
    return lines
