"""What a running server has: the index, threads to work in, and what is kept between requests.

Everything that takes time goes into a thread: searches into a few, the text tower, the model, labels,
pictures and uploads into their own, so that none of these keeps the others waiting. A request that is given
up leaves its thread to finish.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal, ParamSpec, TypeVar

from data.cache_folder import cache_folder
from data.errors import ChiasmError
from vision.retrieval import ImageIndex
from vision.retrieval.classify import Labelling, NoneRule
from vision.retrieval.decode_pool import start_decoders
from vision.retrieval.facets import Facets
from vision.retrieval.templates import load_templates
from vision.retrieval.zero_shot import Classifier, model_scale
from vision.server.jobs import Jobs
from vision.server.metrics import Metrics
from vision.server.options import Limits
from vision.server.text_batches import TextBatches
from vision.server.thumbnails import Thumbnails
from vision.server.uploads import Uploads
from vision.store.vector_store import StoreFacts

CLASSIFIERS = 16  # that are kept
THREADS = {"search": 4, "texts": 1, "model": 1, "labels": 1, "pictures": 2, "uploads": 2}

Work = Literal["search", "texts", "model", "labels", "pictures", "uploads"]
ModelState = Literal["not loaded", "loading", "ready", "failed"]
log = logging.getLogger("chiasm.server")
P = ParamSpec("P")
T = TypeVar("T")


class Library:
    """An open index and all that serves it; `close` it in the end, which sets `ending`."""

    def __init__(
        self, index: ImageIndex, limits: Limits, metrics: Metrics, ending: threading.Event | None = None
    ):
        self.index, self.limits, self.metrics = index, limits, metrics
        self.ending = ending or threading.Event()
        self.model_state: ModelState = "not loaded"
        self._threads = {
            work: ThreadPoolExecutor(count, thread_name_prefix=work) for work, count in THREADS.items()
        }
        self.texts = TextBatches(index.encode_texts, self._threads["texts"], metrics.text_batch.observe)
        self.uploads = Uploads(limits)
        self.thumbnails = Thumbnails(cache_folder() / "thumbnails", limits.thumbnails_bytes)
        self.jobs = Jobs(index, self._forget)
        self._classifiers: OrderedDict[Any, tuple[Classifier, NoneRule]] = OrderedDict()
        self._lock, self._counting = threading.Lock(), threading.Lock()
        self._facets: Facets | None = None
        self._facts: StoreFacts | None = None
        self._recall: str | None = None
        metrics.watch_pictures(index.count)

    async def run(self, work: Work, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function gives, from a thread of that kind."""
        call = partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads[work], call)

    def warm_up(self) -> None:
        """Begin to load what the first picture query would wait for."""
        start_decoders()
        self._threads["model"].submit(self._load)

    def facts(self) -> tuple[StoreFacts, str | None]:
        """Size and recall, looked up once until the index changes."""
        with self._lock:
            if self._facts is None:
                self._facts, recall = self.index.facts(), self.index.recall
                self._recall = None if recall is None else str(recall)
            return self._facts, self._recall

    def facets(self) -> Facets:
        """What the pictures can be told apart by, counted once until the index changes."""
        with self._counting:  # searches, which need the other lock, do not wait for it
            if self._facets is None:
                self._facets = self.index.facets()
            return self._facets

    def classifier(self, labels: Sequence[str], templates: str, none: bool) -> tuple[Classifier, NoneRule]:
        """A classifier; the last few are kept, as the same labels come again with every page.

        Raises:
            ParameterError: labels that cannot work, or a model without words.
        """
        key = (tuple(labels), templates, none)
        with self._lock:
            known = self._classifiers.get(key)
        if known is None:
            labelling = Labelling(labels=labels, templates=load_templates(templates), none=none)
            known = labelling.build(self.index.encode_texts, model_scale(self.index.model.name))
        with self._lock:
            self._classifiers[key] = known
            while len(self._classifiers) > CLASSIFIERS:
                self._classifiers.popitem(last=False)
        return known

    def close(self) -> None:
        """End what is under way, and close the index."""
        self.ending.set()
        self.jobs.close()
        for threads in self._threads.values():
            threads.shutdown(wait=True, cancel_futures=True)
        self.index.close()

    def _load(self) -> None:
        self.model_state = "loading"
        try:
            _ = self.index.backbone
        except Exception as error:
            self.model_state = "failed"  # whoever needs it is told why
            if not isinstance(error, ChiasmError):
                log.error("a bug while the model was loaded", exc_info=error)
        else:
            self.model_state = "ready"

    def _forget(self) -> None:
        with self._counting, self._lock:
            self._facets = self._facts = None
