"""Fine-tune once in peace, then again while it is killed (SIGKILL) over and over, resuming each time.

Run as a script by test_finetune.py: one process imports torch, and each attempt is a fork of it. Prints how
many deaths there were, and how many of them left a checkpoint.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import open_clip  # noqa: F401 - so that the forks need not
import torch

from data.captions import read_pairs
from vision.backbones import load_backbone
from vision.finetune import FinetuneOptions, Machine, finetune

MODEL, PAIRS, OUT = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
OPTIONS = FinetuneOptions(
    method="lora", epochs=8, batch_size=6, lr=3e-3, val_share=0.25, patience=None, crop=0.6
)


def train(out: Path, on_step) -> None:
    torch.set_num_threads(1)
    finetune(
        load_backbone(MODEL, device="cpu", shared=False),
        read_pairs(PAIRS),
        out,
        OPTIONS,
        machine=Machine(workers=1, checkpoint_steps=2),
        resume=(out / "run.json").is_file(),
        progress=lambda what, done, total: on_step() if what.startswith("Training") else None,
    )


def in_a_fork(out: Path) -> tuple[int, int]:
    """Start an attempt; give its process id and the end of a pipe with a byte for each step that it takes."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            train(out, lambda: os.write(writing, b"."))
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    os.close(writing)
    return child, reading


def killed_after(steps: int, delay: float, out: Path) -> bool:
    """One attempt, killed a moment after so many steps of its own; whether it was still alive then."""
    child, reading = in_a_fork(out)
    alive = all(os.read(reading, 1) for _ in range(steps))
    if alive:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) if alive and status else status == 0
    return alive and status != 0


if __name__ == "__main__":
    assert not killed_after(1 << 30, 0, OUT / "whole")
    deaths = midway = 0
    luck = random.Random(0)
    while not (OUT / "killed" / "history.json").is_file():
        # Checkpoints come every second step, so that three steps always get further.
        if killed_after(luck.randint(3, 9), luck.uniform(0, 0.04), OUT / "killed"):
            deaths += 1
            midway += (OUT / "killed" / "training.pt").is_file()
    print(deaths, midway)
