"""Whether an update may stand: no old site may get worse than the margins allow.

Refused is what *is* worse, by its estimate, on any old site by itself: in a mean over sites one could be lost
unseen. That the interval reaches beyond the margin refuses nothing, as with a few dozen people it nearly
always does; it is said instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from data.interval import Interval
from neuro.continual.config import Margins
from neuro.continual.matrix import Matrix


@dataclass(frozen=True, kw_only=True)
class OldSite:
    """What became of one old site; changes are after less before, of the same people.

    Attributes:
        site: its name.
        people: tested.
        auc_change, log_loss_change: a fall of the one and a rise of the other are for the worse.
        worse: in words, what is beyond its margin.
        open: in words, what the interval does not rule out.
    """

    site: str
    people: int
    auc_change: Interval
    log_loss_change: Interval
    worse: tuple[str, ...]
    open: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether an update may stand.

    Attributes:
        accepted: no old site is worse than the margins allow.
        margins: which.
        old_sites: one or more.
    """

    accepted: bool
    margins: Margins
    old_sites: tuple[OldSite, ...]

    @property
    def reasons(self) -> list[str]:
        """Why it is refused, a line a site."""
        return [f"{old.site}: {'; '.join(old.worse)}" for old in self.old_sites if old.worse]

    @property
    def open(self) -> list[str]:
        """What is not ruled out, a line a site."""
        return [f"{old.site}: {'; '.join(old.open)}" for old in self.old_sites if old.open]


def decide(matrix: Matrix, margins: Margins) -> Decision:
    """Judge the last step by what it did to every site that was learned before."""
    last = matrix.auc_BIJ.shape[1] - 1
    old = [_old_site(matrix, site, margins) for site, step in matrix.panel.learned.items() if step < last]
    return Decision(accepted=not any(o.worse for o in old), margins=margins, old_sites=tuple(old))


def _old_site(matrix: Matrix, site: str, margins: Margins) -> OldSite:
    auc, loss = matrix.auc_change(site), matrix.log_loss_change(site)
    people = len(set(matrix.panel.people[matrix.panel.rows(site)].tolist()))
    worse, unruled = [], []
    if math.isnan(auc.estimate):
        unruled.append("nobody to compare, so that its AUC says nothing")
    if auc.estimate < -margins.auc:
        worse.append(f"AUC {auc.estimate:+.3f}, where {-margins.auc:+.3f} is allowed")
    elif auc.low < -margins.auc:
        unruled.append(f"AUC down to {auc.low:+.3f}")
    if loss.estimate > margins.log_loss or math.isnan(loss.estimate):
        worse.append(f"log loss {loss.estimate:+.3f}, where {margins.log_loss:+.3f} is allowed")
    elif loss.high > margins.log_loss:
        unruled.append(f"log loss up to {loss.high:+.3f}")
    return OldSite(
        site=site,
        people=people,
        auc_change=auc,
        log_loss_change=loss,
        worse=tuple(worse),
        open=tuple(unruled),
    )
