"""What `benchmarks.parcel_transformer` measured, as tables in Markdown."""

from __future__ import annotations

from typing import Any

from benchmarks.outcome import table
from data.interval import Interval

OURS_NESTED, BASELINE = "brain Transformer, nested", "connectivity + SVM"


def report(fields: dict[str, Any]) -> list[str]:
    """The tables in Markdown."""
    deals = next(iter(fields["tasks"].values()))["ours"]["deals"]
    rows = [
        [
            name,
            _told(found["ours"]),
            _between(found["ours"]),
            _told(found["baseline"]),
            _between(found["baseline"]),
            _told(fields["anchors"][name]),
            f"{found['ours']['mean'] - found['baseline']['mean']:+.3f}",
        ]
        for name, found in fields["tasks"].items()
    ]
    everything = {**fields["tasks"], f"across sites, {fields['across_atlas']}": fields["across_sites"]}
    tried = [
        [name, variant, _told(told), _between(told), str(found["chosen"][variant])]
        for name, found in everything.items()
        for variant, told in found["variants"].items()
    ]
    return [
        f"AUC within folds of `data.splits`, five by person; mean ± standard deviation over {deals} deals.",
        f"Nested: {fields['inner_folds']} inner folds choose the variant. The baseline is on the same folds.",
        "Intervals: 95 %, of the AUC within folds over people (`neuro.protocol.intervals`), who are drawn in"
        " all deals alike. Training on other people is not in them.",
        "",
        *table(
            ["", OURS_NESTED, "interval", BASELINE, "interval", "anchor (its protocol)", "difference"], rows
        ),
        "",
        "## Train on one site, test on the other",
        "",
        *_across(fields["across_sites"]),
        "",
        "## All that was tried, each by itself on the outer folds",
        "",
        *table(["", "variant", "AUC", "interval", "chosen in folds"], tried),
        "",
        "Frozen: the mean margin of encoders that begin by five seeds, each read by the recipe `places`.",
        *_teaching(fields["picture_teaching"]),
    ]


def _across(found: dict[str, Any]) -> list[str]:
    """A row a contender, a column a site that was tested."""
    folds = found["folds"]
    summaries = {OURS_NESTED: found["ours"], **found["variants"], BASELINE: found["baseline"]}
    rows = [
        [name, *(f"{fold['auc'][name]:.3f}" for fold in folds), _between(told)]
        for name, told in summaries.items()
    ]
    rows[0][0] += f" (chosen: {'; '.join(fold['chosen'] for fold in folds)})"
    return table(["", *(f"on {', '.join(fold['tested_sites'])}" for fold in folds), "interval, both"], rows)


def _teaching(explained: dict[str, Any] | None) -> list[str]:
    if explained is None:
        return []
    seen, unseen = explained["seen"], explained["unseen"]
    return [
        "Picture weights: a ViT of the same size taught to give an ImageNet network's features of crops of"
        f" photographs; it explains {seen:.2f} of their variance on photographs that it saw, {unseen:.2f} on"
        " others."
    ]


def _told(found: dict[str, float]) -> str:
    return f"{found['mean']:.3f} ± {found['sd']:.3f}"


def _between(found: dict[str, Any]) -> str:
    return str(Interval(**found["interval"]))
