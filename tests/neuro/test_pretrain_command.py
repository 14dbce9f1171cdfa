"""`neuro pretrain`: what it says, writes and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from data import command_line
from data.caches.cache import Cache
from neuro.commands.pretrain import pretrain
from neuro.model.encoder_folder import load_encoder

from .conftest import TINY_BACKBONE

SMALL = (
    "--epochs",
    1,
    "--backbone",
    TINY_BACKBONE,
    "--set",
    "tokens.patch_mm=32",
    "--set",
    "tokens.frames=12",
)


@pytest.fixture
def run(run_command: Callable[..., Any]) -> Callable[..., Any]:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(pretrain)
    app.command(name="other")(lambda: None)
    return lambda *words: run_command(lambda: command_line.run(app), "neuro", "pretrain", *words)


def test_it_pretrains(cache: Cache, run: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = run(cache.root, "--then", cache.root, "--out", out, "--device", "cpu", *SMALL)
    assert said.code == 0, said.err
    assert "phase 1 (" in said.out
    assert "phase 2 (" in said.out
    assert "100%" in said.out
    assert f"--init-from {out}" in said.out
    facts = json.loads((out / "run.json").read_text())
    assert facts["command"].startswith("neuro pretrain")
    assert load_encoder(out, device="cpu")[1].frames == 12


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--weights", "a,b"), "--weights must be numbers as 1,2, or auto"),
        (("--weights", "1,2"), "weights must be one for each of 1 cohorts"),
        (("--weights", "auto"), "name the cohort of interest with --then"),
        (("--objective", "mask"), "did you mean masked?"),
        (("--mask-ratio", "1"), "mask ratio must be over 0 and below 1"),
        (("--mask-blocks", "-3"), "block_mm must be positive"),
        (("--held-out", "0"), "share of people held out"),
        (("--set", "training.mixup=0.2"), "mixup must be 0 without labels"),
        (("--resume",), "begin one without --resume"),
        (("--init-from", "nowhere"), "encoder must be a folder"),
    ],
)
def test_what_it_refuses(
    cache: Cache, run: Callable[..., Any], tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    said = run(cache.root, "--out", tmp_path / "out", "--device", "cpu", *words)
    assert said.code == 2
    assert message in " ".join(said.err.split())
    assert not (tmp_path / "out").exists()
