"""Sentences of requests that come together go through the text tower together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

MOST = 128  # sentences in one call; so few are remembered

Encode = Callable[[list[str]], object]
Watch = Callable[[int], None]


class TextBatches:
    """One call of the tower at a time; what comes in the meantime waits, and makes up the next one.

    So a single query is not kept waiting for company, and a hundred at once take a few calls.

    Args:
        encode: sentences to vectors; it remembers them, so that whoever waited finds them there.
        thread: where it is called.
        watch: told the number of sentences of each call.
    """

    def __init__(self, encode: Encode, thread: Executor, watch: Watch = lambda sentences: None):
        self._encode, self._thread, self._watch = encode, thread, watch
        self._waiting: list[tuple[Sequence[str], asyncio.Future[None]]] = []
        self._drain: asyncio.Task[None] | None = None

    async def ready(self, sentences: Sequence[str]) -> None:
        """Return when all of the sentences have been encoded.

        Raises:
            Exception: what `encode` raised.
        """
        if not sentences:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((sentences, future))
        if self._drain is None:
            self._drain = asyncio.create_task(self._run())
        await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._one_call(self._next())
        finally:
            self._drain = None

    def _next(self) -> list[tuple[Sequence[str], asyncio.Future[None]]]:
        """As many of those that wait as make up one call; at least one."""
        count = size = 0
        for sentences, _ in self._waiting:
            size += len(sentences)
            if count and size > MOST:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _one_call(self, batch: list[tuple[Sequence[str], asyncio.Future[None]]]) -> None:
        sentences = list(dict.fromkeys(one for asked, _ in batch for one in asked))
        self._watch(len(sentences))
        error: Exception | None = None
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._encode, sentences)
        except Exception as raised:
            error = raised
        for _, future in batch:
            if future.done():  # whoever waited has gone
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
