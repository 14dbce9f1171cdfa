"""Vectors of sentences that were asked for lately, so that a query's next page encodes nothing."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np

from vision.store.vector_store import Vectors

MOST = 4096  # sentences; 8 MB of vectors of 512 components
CROWD = 256  # so many at once are labels, not queries, and would push those out


class TextMemory:
    """Sentences -> vectors by way of `encode`, which is asked for those alone that are not known.

    Safe in several threads. What was asked for longest ago is forgotten first.
    """

    def __init__(self, encode: Callable[[Sequence[str]], Vectors], most: int = MOST):
        self._encode, self._most = encode, most
        self._known: OrderedDict[str, Vectors] = OrderedDict()
        self._lock = threading.Lock()

    def vectors(self, sentences: Sequence[str]) -> Vectors:
        """Sentences -> vectors (T, E), in the order given."""
        if not 0 < len(sentences) < CROWD:
            return self._encode(sentences)
        with self._lock:
            found = {one: self._known[one] for one in sentences if one in self._known}
        missing = [one for one in dict.fromkeys(sentences) if one not in found]
        if missing:
            found |= dict(zip(missing, self._encode(missing), strict=True))
        with self._lock:
            for one in found:
                self._known[one] = found[one]
                self._known.move_to_end(one)
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        vectors_TE: Vectors = np.stack([found[one] for one in sentences])
        return vectors_TE
