"""The report of an update: also of sites of which nothing can be said, and with awkward names."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from neuro.continual.config import Margins
from neuro.continual.figures import strategies_figure, write_figure
from neuro.continual.matrix import Panel, matrix_of
from neuro.continual.outcome import Outcome, as_json
from neuro.continual.report import markdown

MARGINS = Margins()
FACTS = {
    "parent": {"digest": "aaaa"},
    "added": {"digest": "bbbb", "runs": 8, "recipe": "6p"},
    "update": {"seed": 0},
    "version": "0",
}


def outcome(rng: np.random.Generator, fall: float = 0.0, margins: Margins = MARGINS) -> Outcome:
    """Two old sites, one of patients alone, and two new ones."""
    sites = np.repeat(["old", "sick | only", "new", "newer"], 8).astype(object)
    labels = np.where(sites == "sick | only", 1, np.arange(32) % 2).astype(np.int64)
    panel = Panel(
        labels=labels,
        people=np.arange(32).astype(object),
        sites=sites,
        folds=np.zeros(32, dtype=np.int64),
        learned={"old": 0, "sick | only": 0, "new": 1, "newer": 1},
        resamples=50,
    )
    before = np.where(labels == 1, 1.0, -1.0)
    after = {"replay": before, "naive": np.where(sites == "old", -fall * before, before)}
    return Outcome(
        chosen="naive",
        matrices={name: matrix_of(panel, np.stack([before, said])) for name, said in after.items()},  # type: ignore[misc]
        left_out={"ewc": "the importance of the old weights"},
        of_the_parent=False,
        folds=4,
        margins=margins,
        facts=FACTS,
    )


def test_the_decision_stands_first_and_every_strategy_beside_it(rng: np.random.Generator) -> None:
    text = markdown(outcome(rng, fall=1.0))
    assert text.index("**REFUSED**: naive") < text.index("## How it was measured")
    assert "- old: AUC -1.000, where -0.050 is allowed; log loss +1.000, where +0.100 is allowed" in text
    rows = [line for line in text.splitlines() if line.startswith(("| **naive**", "| replay"))]
    assert [row.endswith("yes |") for row in rows] == [False, True]
    assert text.count("sick \\| only") >= 3
    assert "nothing to compare" in text
    assert "ewc is left out: it needs the importance of the old weights" in text
    assert "**Accepted**: naive" in markdown(outcome(rng, fall=-1.0))


def test_what_cannot_be_said_is_null_in_json(rng: np.random.Generator) -> None:
    found = json.loads(json.dumps(as_json(outcome(rng, fall=1.0)), allow_nan=False))
    assert found["accepted"] is False
    assert found["strategies"]["replay"]["accepted"] is True
    assert found["strategies"]["naive"]["auc"]["before"]["sick | only"]["estimate"] is None
    assert found["strategies"]["naive"]["auc_change"]["old"]["estimate"] == -1
    assert "sick | only: nobody to compare, so that its AUC says nothing" in found["not_ruled_out"]


def test_a_margin_may_be_without_end(rng: np.random.Generator) -> None:
    free = outcome(rng, fall=0.5, margins=Margins(auc=0.99, log_loss=math.inf))
    assert json.loads(json.dumps(as_json(free), allow_nan=False))["margins"] == {
        "auc": 0.99,
        "log_loss": None,
    }
    assert "log loss rise by inf" in markdown(free)


def test_the_figure_has_a_mark_for_each_site_and_strategy(rng: np.random.Generator, tmp_path: Path) -> None:
    made = outcome(rng)
    left, right = strategies_figure(made).axes
    marks = [line for line in left.lines if line.get_marker() == "o"]
    assert len(marks) == 2  # of the old site that can be compared, twice
    assert len([line for line in right.lines if line.get_marker() == "o"]) == 4
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["replay", "naive (chosen)"]
    write_figure(made, tmp_path / "update.png")
    assert (tmp_path / "update.png").stat().st_size > 10_000
