"""CLIP's tokenizer with no torch: sentences -> token ids, equal to those of `open_clip.SimpleTokenizer`.

Byte pair encoding (Sennrich et al. 2016, arXiv 1508.07909) over cleaned words, as CLIP does it (Radford et
al. 2021, arXiv 2103.00020). The order of the merges is all there is to store: ids follow from it.
"""

from __future__ import annotations

import html
import re
import string
from collections.abc import Callable, Sequence
from itertools import pairwise

SPECIAL = ("<start_of_text>", "<end_of_text>")
_ENDINGS = "'s|'t|'re|'ve|'m|'ll|'d"
_ASCII_WORDS = re.compile(rf"{'|'.join(SPECIAL)}|{_ENDINGS}|[a-z]+|[0-9]|[^\sa-z0-9]+", re.I | re.A)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class ClipTokens:
    """Sentences -> lists of ids, start and end tokens included, cut to `context` with the end token kept.

    Args:
        merges: "first second" in the order of their ranks, one to a line.
        context: most tokens of a sentence.
        clean: key of `CLEANERS`.
    """

    def __init__(self, merges: str, *, context: int, clean: str):
        self._ranks = {pair: rank for rank, pair in enumerate(merges.split("\n"))}
        letters = byte_letters()
        endings = [letter + "</w>" for letter in letters.values()]
        words = merges.replace(" ", "").split("\n")
        self._ids = {token: id for id, token in enumerate([*letters.values(), *endings, *words, *SPECIAL])}
        self._letters, self._context, self._clean = letters, context, CLEANERS[clean]

    def __call__(self, sentences: Sequence[str]) -> list[list[int]]:
        """Ids of each sentence, as many as it has."""
        return [self._sentence(sentence) for sentence in sentences]

    def _sentence(self, sentence: str) -> list[int]:
        start, end = (self._ids[token] for token in SPECIAL)
        ids = [start]
        for word in split_words(self._clean(sentence)):
            ids += self._word(word)
            if len(ids) >= self._context:
                break
        return [*ids[: self._context - 1], end]

    def _word(self, word: str) -> list[int]:
        if word in SPECIAL:
            return [self._ids[word]]
        parts = [self._letters[byte] for byte in word.encode("utf-8", "surrogatepass")]
        parts[-1] += "</w>"
        while len(parts) > 1:
            pairs = [f"{a} {b}" for a, b in pairwise(parts)]
            best = min(pairs, key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            parts = _merged(parts, pairs, best)
        return [self._ids[part] for part in parts]


def _merged(parts: list[str], pairs: list[str], best: str) -> list[str]:
    """The parts with each occurrence of the pair joined, from the left."""
    joined, place = [], 0
    while place < len(parts):
        here = place < len(pairs) and pairs[place] == best
        joined.append(parts[place] + parts[place + 1] if here else parts[place])
        place += 2 if here else 1
    return joined


def byte_letters() -> dict[int, str]:
    """A printable letter for each byte, printable bytes first, in the order of CLIP's vocabulary."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {b: chr(256 + n) for n, b in enumerate(others)}


def split_words(text: str) -> list[str]:
    """Words, single digits and runs of other signs of a cleaned text."""
    if text.isascii():
        return _ASCII_WORDS.findall(text)
    import regex  # type: ignore[import-untyped]  # the standard library knows no classes of letters

    pattern = rf"{'|'.join(SPECIAL)}|{_ENDINGS}|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+"
    words: list[str] = regex.findall(pattern, text, regex.IGNORECASE)
    return words


def _clean_whitespace(text: str) -> str:
    return " ".join(_repaired(text).split())


def _clean_lower(text: str) -> str:
    return _clean_whitespace(text).lower()


def _clean_canonical(text: str) -> str:
    plain = _repaired(text).replace("_", " ").translate(_NO_PUNCTUATION).lower()
    return " ".join(plain.split())


# open_clip's names for its ways to clean a sentence.
CLEANERS: dict[str, Callable[[str], str]] = {
    "lower": _clean_lower,
    "whitespace": _clean_whitespace,
    "canonicalize": _clean_canonical,
}


def _repaired(text: str) -> str:
    # ftfy leaves plain text as it is, and takes longer to import than a sentence takes to encode.
    if not (text.isascii() and text.isprintable() and "&" not in text):
        import ftfy

        text = ftfy.fix_text(text)
    return html.unescape(html.unescape(text)).strip()
