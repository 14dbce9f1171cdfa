"""Read and decode pictures ahead of the model, each in a process that may crash or hang over it.

Each picture in the works has a thread that waits for it. Where processes are up, the thread leaves the work
to one of them; where they are not, it does the work itself. Starting processes means importing torch once
more (seconds), so a few pictures do without, unless `start_decoders` was called before.
"""

from __future__ import annotations

import atexit
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from data.errors import BadFileError
from data.photos import PhotoFile, read_photo
from vision.retrieval.decode_worker import READY
from vision.retrieval.embedder import Pixels
from vision.retrieval.picture import Picture
from vision.retrieval.picture_reader import PictureReader

IN_THREADS = 32  # by default: fewer are sooner done than processes are started
SECONDS = 60.0  # for one picture, before it counts as hanging
START = "import sys; sys.path[:] = sys.argv[2:]; from vision.retrieval.decode_worker import main; main()"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A file that was read, without its bytes; `decoded` is None where its pixels were not wanted."""

    file: PhotoFile
    decoded: tuple[Picture, Pixels] | None


Wanted = Callable[[PhotoFile], bool]


class DecodePool:
    """Reads files for one model, several at a time; close it (or use `with`) to end the work.

    Args:
        reader: does the reading; pickled for the processes.
        workers: files at a time; None for one per core, at most 8.
        seconds: after which a file counts as hanging, where a process reads it.
        in_threads: pictures that are decoded here before processes are started for the rest.
    """

    def __init__(
        self,
        reader: PictureReader,
        *,
        workers: int | None = None,
        seconds: float = SECONDS,
        in_threads: int = IN_THREADS,
    ):
        self.reader, self.seconds, self._in_threads = reader, seconds, in_threads
        self.workers = workers or min(8, os.cpu_count() or 1)
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        self._idle: deque[_Worker] = deque()
        self._hired: set[_Worker] = set()
        self._submitted = itertools.count(1)
        self._closed = False

    def submit(self, path: Path, wanted: Wanted) -> Future[Reading]:
        """Begin to read a file; `wanted` is asked, in another thread, whether to decode it.

        The result raises BadFileError for what cannot be read or decoded, crashes its decoder, or hangs.
        """
        if next(self._submitted) > self._in_threads:
            start_decoders()
        return self._threads.submit(self._read, path, wanted)

    def close(self) -> None:
        """Stop at once; what was not finished is lost. A second call does nothing."""
        self._closed = True
        for worker in tuple(self._hired):
            worker.hang_up()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in tuple(self._hired):
            self._dismiss(worker)

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, path: Path, wanted: Wanted) -> Reading:
        for _ in range(2):  # a process may have died of something else: the next one will tell
            worker = self._worker()
            if worker is None:
                return _read_here(self.reader, path, wanted)
            try:
                reading = worker.read(path, wanted)
            except _WorkerDiedError as death:
                self._dismiss(worker)
                if self._closed:
                    raise CancelledError from death
                if death.seconds >= self.seconds:
                    raise _bad(path, f"one that takes longer than {self.seconds:g} s to decode") from death
            except BaseException:
                self._idle.append(worker)
                raise
            else:
                self._idle.append(worker)
                return reading
        raise _bad(path, "one that crashes its decoder")

    def _worker(self) -> _Worker | None:
        """An idle process, or a new one; None where there are to be none."""
        try:
            return self._idle.pop()
        except IndexError:
            pass
        worker = _hire(self.reader, self.seconds)
        if worker is not None:
            self._hired.add(worker)
            if self._closed:
                worker.hang_up()
        return worker

    def _dismiss(self, worker: _Worker) -> None:
        self._hired.discard(worker)
        worker.close()


def start_decoders(*, wait: bool = False) -> None:
    """Begin to start the processes that decode; where they are up, nothing happens.

    They stay until this process ends. Called before a model is loaded, it costs no time: both import torch
    side by side.

    Args:
        wait: return when they are up, not at once.
    """
    global _forker
    with _starting:
        if _forker is None or _forker.has_ended():
            _forker = _Forker()
    if wait:
        _forker.is_ready()


class _WorkerDiedError(Exception):
    """A worker ended, `seconds` after it was last asked something."""

    def __init__(self, seconds: float):
        super().__init__(seconds)
        self.seconds = seconds


class _Worker:
    """This side of the conversation with one process (see `vision.retrieval.decode_worker`)."""

    def __init__(self, ours: socket.socket, reader: PictureReader, seconds: float):
        self._socket = ours
        self._connection = Connection(os.dup(ours.fileno()))
        self._asked = time.monotonic()
        self._send((reader, seconds))

    def read(self, path: Path, wanted: Wanted) -> Reading:
        """`_read_here`, there.

        Raises:
            BadFileError: as there.
            _WorkerDiedError: the process has ended.
        """
        self._send(path)
        file: PhotoFile = self._answer()
        is_wanted = False
        try:
            is_wanted = wanted(file)
        finally:
            self._send(is_wanted)
        return Reading(file=file, decoded=self._answer() if is_wanted else None)

    def hang_up(self) -> None:
        """End the process, and whoever waits for its answer."""
        with suppress(OSError):  # it has ended already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.hang_up()
        self._socket.close()
        self._connection.close()

    def _send(self, message: object) -> None:
        self._asked = time.monotonic()
        try:
            self._connection.send(message)
        except OSError as error:
            raise _WorkerDiedError(0) from error

    def _answer(self) -> Any:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise _WorkerDiedError(time.monotonic() - self._asked) from error
        if isinstance(answer, Exception):
            raise answer
        return answer


class _Forker:
    """The process that forks workers; one for this process, from when it is first needed until the end."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        self._is_ready: bool | None = None
        with theirs:
            handle = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-c", START, f"{handle}", *sys.path],
                pass_fds=[handle],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                process_group=0,  # Ctrl-C is for this process, which then hangs up
            )
        atexit.register(self.end)

    def has_ended(self) -> bool:
        """Whether it was killed, say; true in a fork of this process, too."""
        try:
            return not self._control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def is_ready(self) -> bool:
        """Wait until it can fork; whether it can."""
        with self._lock:
            if self._is_ready is None:
                self._is_ready = self._control.recv(1) == READY
            return self._is_ready

    def hire(self) -> socket.socket | None:
        """One end of a conversation with a new worker; None where none can be had."""
        if not self.is_ready():
            return None
        ours, theirs = socket.socketpair()
        with theirs, suppress(OSError):
            socket.send_fds(self._control, [b"w"], [theirs.fileno()])
            return ours
        ours.close()
        return None

    def end(self) -> None:
        self._control.close()
        self._process.wait()


_forker: _Forker | None = None
_starting = threading.Lock()


def _hire(reader: PictureReader, seconds: float) -> _Worker | None:
    if _forker is None:
        return None
    ours = _forker.hire()
    if ours is None:
        warnings.warn(
            "processes that decode could not be started; threads do it", RuntimeWarning, stacklevel=2
        )
        return None
    return _Worker(ours, reader, seconds)


def _read_here(reader: PictureReader, path: Path, wanted: Wanted) -> Reading:
    """Read a file, ask whether it is wanted, and decode it if so.

    Raises:
        BadFileError: it cannot be read or decoded.
    """
    file = read_photo(path)
    decoded = reader.pixels(file) if wanted(file) else None
    return Reading(file=file, decoded=decoded)


def _bad(path: Path, got: str) -> BadFileError:
    return BadFileError("picture", must_be="a readable picture", got=got, path=path)
