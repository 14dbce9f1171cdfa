"""Several processes, and processes that are ended: torchrun, SIGTERM, SIGINT, SIGKILL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from .train_in_processes import TRAININGS, trained

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "4", "--standalone"]


def run_script(*command: object) -> str:
    """Run a script of the tests to its end; what it printed."""
    done = subprocess.run(
        [str(part) for part in command],
        env=ENVIRONMENT,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_four_processes_train_as_one_does(tmp_path: Path) -> None:
    """Losses to 1e-5, and so the weights, where Adam has not made whole steps of rounding errors."""
    told = run_script(*TORCHRUN, ROOT / "tests" / "neuro" / "train_in_processes.py", tmp_path / "four")
    epochs = [f"{name} {epoch}" for name in TRAININGS for epoch in range(TRAININGS[name].epochs)]
    assert told.splitlines() == epochs  # the others print nothing
    found = torch.load(tmp_path / "four" / "found.pt")
    for name in TRAININGS:
        left = ["begun.json", "history.csv", *(["training.pt"] if name != "svm" else [])]
        assert sorted(path.name for path in (tmp_path / "four" / name).iterdir()) == left
        alone = trained(name, tmp_path / "one" / name)
        np.testing.assert_allclose(found[name]["losses"], alone["losses"], atol=1e-5)
        if name in ("uneven", "svm"):
            for key, weight in alone["weights"].items():
                torch.testing.assert_close(found[name]["weights"][key], weight, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("ended")
    told = run_script(sys.executable, ROOT / "tests" / "neuro" / "end_trainings.py", folder)
    return folder, json.loads(told.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_ends_it_after_the_step_and_it_can_be_resumed(ended: Any, name: str, code: int) -> None:
    folder, found = ended
    exit_code, lines = found[name]
    assert exit_code == code
    step = int(lines[-2].removeprefix("step "))
    assert step >= 5
    saved = f"{name}: stopped after step {step} and saved in {folder / name}; go on with --resume"
    assert lines[-1] == saved
    exit_code, lines = found[f"{name}, resumed"]
    assert exit_code == 0
    assert lines[0] == f"step {step + 1}"
    assert lines[-1] == found["undisturbed"][1][-1]
    assert not (folder / name / "training.pt").exists()


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_checkpoint(ended: Any) -> None:
    found = ended[1]
    assert found["SIGKILL"][0] == -9
    exit_code, lines = found["SIGKILL, resumed"]
    assert exit_code == 0
    # Checkpoints come every second step, and each third, with an epoch.
    assert int(lines[0].removeprefix("step ")) >= 5
    assert lines[-1] == found["undisturbed"][1][-1]


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(ended: Any) -> None:
    assert ended[1]["twice"] == [-15, ["step 1"]]
