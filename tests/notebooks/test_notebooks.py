"""The notebooks run from top to bottom, offline, and are kept without what a run leaves in them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:home|Users|root|tmp|var|work|mnt|opt)/|[A-Z]:\\\\")
# Nobody answers there: whoever asks a hub gets an error at once, as on a machine with no network.
NOWHERE = "http://127.0.0.1:9"


def test_there_is_a_notebook_for_each_subject() -> None:
    subjects = (
        "brain_classifier",
        "brain_transformer",
        "cohort_quality",
        "honest_numbers",
        "image_search",
        "parkinson_study",
    )
    assert [f"{subject}.ipynb" for subject in subjects] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_valid_and_holds_nothing_of_a_run(name: str) -> None:
    text = (NOTEBOOKS / name).read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert MACHINE_PATH.search(text) is None


@pytest.mark.parametrize("path", ["/tmp/x", "open('/home/ada/x')", "C:\\\\Users"])
def test_a_machine_path_is_recognised(path: str) -> None:
    assert MACHINE_PATH.search(path)
    assert MACHINE_PATH.search("~/Pictures https://example.org/home/") is None


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_offline_and_leaves_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HTTP_PROXY", NOWHERE)
    monkeypatch.setenv("HTTPS_PROXY", NOWHERE)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    # An inline figure is a picture; a kernel that inherits another backend would swallow it.
    monkeypatch.delenv("MPLBACKEND", raising=False)
    (tmp_path / "scratch").mkdir()
    beside = tmp_path / "beside"
    beside.mkdir()
    before = sorted(NOTEBOOKS.iterdir())

    notebook = _execute(nbformat.read(NOTEBOOKS / name, as_version=4), beside)

    outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    assert [out.text for out in outputs if out.get("name") == "stderr"] == []
    assert sum("image/png" in out.get("data", {}) for out in outputs) >= 4
    assert list(beside.iterdir()) == []
    assert sorted(NOTEBOOKS.iterdir()) == before


def _execute(notebook: Any, folder: Path) -> Any:
    """The notebook after a run in `folder`, by the interpreter that runs the tests."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    class ThisInterpreter(AsyncKernelManager):
        """Starts this very Python, whatever kernels are installed on the machine."""

        @property
        def kernel_spec(self) -> KernelSpec:
            command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=command, display_name="tests", language="python")

    # The manager's class, not an instance: what the client makes itself it also closes.
    client = NotebookClient(
        notebook,
        kernel_manager_class=ThisInterpreter,
        timeout=240,
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute()
