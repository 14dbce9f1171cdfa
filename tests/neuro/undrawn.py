"""Reports without the second that their figures take: for tests that look at words and tables."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from neuro.picture import data_uri

DRAWN = {
    "outcome": ("auc_forest", "roc_curves", "score_strips", "permuted_aucs"),
    "trust": ("group_forest",),
    "people": ("motion_forest",),
    "explanation": ("brain_map",),
}


def leave_undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every figure of a report becomes an empty one."""
    empty = data_uri(Figure(figsize=(1, 1)))
    for section, names in DRAWN.items():
        for name in names:
            monkeypatch.setattr(f"neuro.report.sections.{section}.{name}", lambda *_: empty)
    monkeypatch.setattr("neuro.report.sections.trust.reliability_figure", lambda *_: Figure(figsize=(1, 1)))
