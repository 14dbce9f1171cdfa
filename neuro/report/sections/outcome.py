"""What came out: the verdict in words, the figures of all models, and who was told apart."""

from __future__ import annotations

from collections.abc import Sequence

from data.interval import Interval
from neuro.protocol.metrics import METRICS
from neuro.report.blocks import (
    Block,
    Cell,
    Folded,
    Pair,
    Picture,
    Section,
    Table,
    Words,
    figure_cell,
    table,
)
from neuro.report.figures import auc_forest, permuted_aucs, roc_curves, score_strips
from neuro.report.flow import why_not_across
from neuro.report.reading import Reading


def in_words(reading: Reading) -> Section:
    """The verdict, warnings that no reader may miss, and each comparison."""
    verdict = reading.findings.verdict
    told: list[Block] = [Words(verdict.headline, strong=True)]
    told += [Words(line) for line in reading.first_screen]
    told.append(Folded("Each comparison", tuple(Words(line) for line in verdict.words[1:])))
    return Section(title="In words", blocks=tuple(told), verdict=True)


def results(reading: Reading) -> Section:
    """Figures of every model, by people dealt into folds."""
    models = reading.results.models
    forest = Picture(
        name="auc",
        uri=auc_forest(models),
        alt="AUC of each model with its 95 % interval; the figures are in the table below",
    )
    rows = [(Cell(model.name, model.note), model.figures) for model in models]
    return Section(title="Results", blocks=(forest, _figures(rows)))


def site_to_site(reading: Reading) -> Section:
    """The same where each site was tested by models of the others; or why there is nothing of it."""
    found = reading.results
    rows = [(Cell(model.name), model.figures_across) for model in found.models if model.figures_across]
    title = "From site to site"
    if not rows:
        words = f"It was not tested on a site that it had not seen, {why_not_across(found)}."
        return Section(title=title, blocks=(Words(words),))
    sites = ", ".join(sorted(map(str, set(found.table["site"]))))
    told = Words(f"Each of {sites} tested by models of the others.")
    return Section(title=title, blocks=(told, _figures(rows)))


def told_apart(reading: Reading) -> Section:
    """Scores of all runs, and ROC curves."""
    found, verdict = reading.results, reading.findings.verdict
    compared = {found.ours.name, *(one.against for one in verdict.comparisons)}
    strips = Picture(
        name="scores",
        uri=score_strips(found.ours.within),
        alt="Out-of-fold score of every run, by site and label",
        caption=f"{found.ours.name}: every run's score from the model that did not see the person.",
    )
    roc = Picture(
        name="roc",
        uri=roc_curves([model for model in found.models if model.name in compared]),
        alt="ROC curves of the models that are compared",
        caption="ROC curves of the out-of-fold scores, ranked within each fold, of the models that the words"
        " above compare.",
    )
    return Section(title="Who was told apart", blocks=(Pair((strips, roc)),))


def chance(reading: Reading) -> Section | None:
    """What permuted labels gave; None where they were not asked."""
    permuted = reading.results.permuted
    if permuted is None:
        return None
    picture = Picture(
        name="permutations",
        uri=permuted_aucs(permuted),
        alt="AUC of the whole pipeline on permuted labels, and on the labels as they are",
    )
    as_good = round(permuted.p_value * (1 + permuted.permutations)) - 1
    best = "none" if not as_good else str(as_good)
    words = (
        f"The whole pipeline was run on labels permuted between people ({permuted.made_in_words}). Their AUC"
        f" is {min(permuted.null):.3f} to {max(permuted.null):.3f}, and {best} of them did as well as the"
        f" labels as they are ({permuted.observed:.3f}), or better: p = {permuted.p_value:.3f} one-sided,"
        f" {permuted.two_sided:.3f} two-sided. The smallest two-sided p that so many can show is"
        f" {permuted.least:.3f}."
    )
    return Section(title="Could it be chance?", blocks=(Pair((picture, Words(words))),))


def _figures(rows: Sequence[tuple[Cell, dict[str, Interval]]]) -> Table:
    heads = ("Model", *(metric.title for metric in METRICS.values()))
    cells = [(name, *(figure_cell(figures[metric]) for metric in METRICS)) for name, figures in rows]
    return table(heads, cells, narrow=True)
