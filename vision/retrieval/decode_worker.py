"""The other side of `vision.retrieval.decode_pool`: a process that forks workers, and what a worker does.

The forking process imports torch once; a worker is then there in milliseconds, and its memory is shared with
the others. It is started plainly, not through `multiprocessing`, which would run the caller's own script once
more in each worker.

A worker is a conversation over one socket: a path in; the file's hash, size and time out; whether its pixels
are wanted in; the picture's facts and pixels out. An error takes the place of an answer. A worker ends when
its socket is closed at the other end, by whatever end of the process there, and when a file takes too long.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.photos import PhotoFile, read_photo

if TYPE_CHECKING:
    from vision.retrieval.picture_reader import PictureReader

READY = b"r"


def fork_workers(control: socket.socket) -> None:
    """Fork a worker for every socket that comes through `control`, until that is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the workers
    import pillow_heif  # noqa: F401 - like the rest, for the workers to come
    import torch

    import vision.backbones.preprocess  # noqa: F401

    torch.set_num_threads(1)

    control.send(READY)
    while True:
        message, handles, *_ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            with suppress(EOFError, OSError):  # the other end has closed
                _work(Connection(handles[0]))
            os._exit(0)
        os.close(handles[0])


def _work(connection: Connection) -> None:
    threading.Thread(target=_end_when_closed, args=(connection.fileno(),), daemon=True).start()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged metadata and very large pictures
    reader: PictureReader
    reader, seconds = connection.recv()
    while True:
        path: Path = connection.recv()
        file = _within(seconds, read_photo, path)
        connection.send(_without_data(file))
        if isinstance(file, PhotoFile) and connection.recv():
            connection.send(_within(seconds, reader.pixels, file))


def _within(seconds: float, work: Callable[[Any], Any], subject: object) -> Any:
    """What `work` gives, or the error that it raises; the system ends the process when it takes too long."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return work(subject)
    except Exception as error:
        return error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _without_data(file: PhotoFile | Exception) -> PhotoFile | Exception:
    return file if isinstance(file, Exception) else replace(file, data=b"")


def _end_when_closed(handle: int) -> None:
    """End a worker in the middle of a file when nobody waits for its answer any more."""
    hung_up = select.poll()
    hung_up.register(handle, 0)
    hung_up.poll()
    os._exit(0)


def main() -> None:
    """Entry point of the forking process; its one argument is the handle of the controlling socket."""
    with (
        suppress(OSError),
        socket.socket(fileno=int(sys.argv[1])) as control,
    ):  # the other end may go any time
        fork_workers(control)
