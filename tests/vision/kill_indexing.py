"""Index a folder in a child process, kill it (SIGKILL) again and again, and check what it had acknowledged.

Run as a script by test_index.py: one process imports torch, and each attempt is a fork of it. Prints how many
deaths there were, and after how many of them some but not all pictures were stored.
"""

import importlib.util
import os
import random
import select
import signal
import sys
import time
from pathlib import Path

import torch  # noqa: F401 - so that the forks need not

from vision.retrieval import ImageIndex, IngestOptions
from vision.retrieval.decode_pool import start_decoders

CONFTEST, STORE, PHOTOS = map(Path, sys.argv[1:])
specification = importlib.util.spec_from_file_location("fakes", CONFTEST)
fakes = importlib.util.module_from_spec(specification)
specification.loader.exec_module(fakes)


class SlowEmbedder(fakes.ColourEmbedder):
    def encode_image(self, pixels_BCHW):
        time.sleep(0.03)  # so that most deaths fall between two batches
        return super().encode_image(pixels_BCHW)


def in_a_fork(work):
    """Start work(write) in a child; give its process id and the end of the pipe that it writes numbers to."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            work(lambda number: os.write(writing, f"{number}\n".encode()))
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    os.close(writing)
    return child, reading


def index_all(write):
    with ImageIndex.create(STORE, SlowEmbedder()) as index:
        index.add_folder(
            [PHOTOS], options=IngestOptions(batch_size=4), progress=lambda done, total: write(done)
        )


def count_stored(write):
    with ImageIndex.open(STORE, fakes.ColourEmbedder()) as index:
        write(len(index))


def read_until(reading, deadline):
    """The last number written before the deadline (0 for none), and whether the writer ended by itself."""
    text = b""
    while (left := deadline - time.monotonic()) > 0:
        if select.select([reading], [], [], left)[0]:
            piece = os.read(reading, 4096)
            if not piece:
                return last(text), True
            text += piece
    return last(text), False


def last(text):
    whole = text.rpartition(b"\n")[0].split()
    return int(whole[-1]) if whole else 0


def main():
    start_decoders(wait=True)  # one process forks the workers of all the children
    chance, deaths, midway, stored, patience = random.Random(7), 0, 0, 0, 0.02
    while True:
        child, reading = in_a_fork(index_all)
        acknowledged, ended = read_until(reading, time.monotonic() + chance.random() * patience)
        if not ended:
            os.kill(child, signal.SIGKILL)
            deaths += 1
        status = os.waitpid(child, 0)[1]
        os.close(reading)
        if (STORE / "chiasm-index.json").exists() and stored_model():
            counter, reading = in_a_fork(count_stored)
            before, stored = stored, read_until(reading, time.monotonic() + 60)[0]
            os.waitpid(counter, 0)
            os.close(reading)
            assert stored >= max(acknowledged, before), (stored, acknowledged, before)
            midway += not ended and 0 < stored < len(list(PHOTOS.iterdir()))
        if ended:
            assert status == 0, status
            print(deaths, midway)
            return
        patience *= 1.25


def stored_model():
    return '"current": null' not in (STORE / "chiasm-index.json").read_text()


main()
