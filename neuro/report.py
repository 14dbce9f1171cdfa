"""The report of an evaluation: one self-contained HTML file, pictures inside, nothing fetched."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from data.caches.cache import Cache
from data.writing import write_whole
from neuro.evaluate import Evaluation, Outcome, results_table
from neuro.figures import auc_forest, brain_map, roc_curves, score_strips
from neuro.model import ModelConfig
from neuro.study import SLICES, TRANSFORMER, StudyConfig
from neuro.tokens import ParcelSpec, SliceSpec, TokenSpec, VolumeSpec
from neuro.training.config import TrainingConfig

METHODS = {
    "lora": "low-rank updates of the trunk's blocks, embeddings and readout",
    "linear": "the readout alone, on a frozen encoder",
    "attentive": "a readout that attends, on a frozen encoder",
    "svm": "the readout alone, a linear support vector machine over all tokens of a frozen encoder, by place",
}
LIBRARIES = ("torch", "timm", "nilearn", "nibabel", "scikit-learn", "numpy")


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportInputs:
    """What a report is made of.

    Attributes:
        cache: the prepared cohort.
        config: of the study.
        evaluation: its results; the Transformer is among them.
        tokens: how the Transformer's runs were cut.
        votes: NIfTI image of the vote map, or None.
        no_map: why there is none.
        planted: NIfTI image of the region where a simulation planted its effect, or None.
        command: what repeats it.
        remark: what a reader must know of the cohort before any figure.
        title: of the report.
    """

    cache: Cache
    config: StudyConfig
    evaluation: Evaluation
    tokens: TokenSpec | None = None
    votes: Any | None = None
    no_map: str = ""
    planted: Any | None = None
    command: str = ""
    remark: str = ""
    title: str = "Parkinson's disease or control, from resting-state fMRI"


def write_report(inputs: ReportInputs, path: str | Path) -> Path:
    """Write the HTML file, whole or not at all, and return its path."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    source = resources.files("neuro").joinpath("report.html.j2").read_text(encoding="utf-8")
    html = environment.from_string(source).render(**_content(inputs))
    return write_whole(path, html)


def _content(inputs: ReportInputs) -> dict[str, Any]:
    evaluation = inputs.evaluation
    focus = in_focus(evaluation)
    votes = brain_map(inputs.votes, inputs.planted) if inputs.votes is not None else None
    return {
        "title": inputs.title,
        "lead": f"{_cohort_in_words(inputs.cache)} {inputs.remark}".strip(),
        "verdict": verdict(evaluation),
        "results": results_table(evaluation).to_dict("records"),
        "focus": focus.name,
        "figures": {
            "forest": auc_forest(evaluation),
            "roc": roc_curves(evaluation),
            "strips": score_strips(evaluation, focus, inputs.cache.table["site"].to_numpy()),
            "map": votes,
        },
        "planted": inputs.planted is not None,
        "cohort": _cohort_rows(inputs.cache.table),
        "excluded": inputs.cache.excluded,
        "protocol": _protocol(inputs),
    }


def outcome_named(evaluation: Evaluation, name: str) -> Outcome:
    """The outcome of a contender."""
    return next(o for o in evaluation.outcomes if o.name == name)


def in_focus(evaluation: Evaluation) -> Outcome:
    """The Transformer's outcome, or the first where there is none (a cache of parcels alone)."""
    return next((o for o in evaluation.outcomes if o.name == TRANSFORMER), evaluation.outcomes[0])


def verdict(evaluation: Evaluation) -> list[str]:
    """What the intervals allow to be said, in sentences."""
    focus = in_focus(evaluation)
    lines = [f"The {focus.name} tells patients from controls with AUC {focus.auc}: {_against_chance(focus)}."]
    rivals = [o for o in evaluation.outcomes if o is not focus and o.name != "majority"]
    lines += [
        f"{rival.name[0].upper()}{rival.name[1:]}: AUC {rival.auc}, {_against_chance(rival)}."
        for rival in rivals
    ]
    best = max(rivals, key=lambda o: o.auc.estimate, default=None)
    if best is not None:
        lines.append(_against_rival(focus, best))
    return lines


def _against_chance(outcome: Outcome) -> str:
    if outcome.auc.low > 0.5:
        return "above chance"
    return "below chance" if outcome.auc.high < 0.5 else "not told from chance"


def _against_rival(focus: Outcome, rival: Outcome) -> str:
    if focus.auc.low > rival.auc.high:
        return f"Its interval lies above that of the best of the others ({rival.name})."
    if focus.auc.high < rival.auc.low:
        return f"Its interval lies below that of the best of the others ({rival.name})."
    return f"Its interval overlaps that of the best of the others ({rival.name}): no difference is shown."


def _cohort_in_words(cache: Cache) -> str:
    people = cache.table.drop_duplicates("person")
    patients = int((people["label"] == 1).sum())
    sites = cache.table["site"].nunique()
    return f"{patients} patients and {len(people) - patients} controls from {sites} site{'s' * (sites != 1)}."


def _cohort_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for (site, label), part in table.groupby(["site", "label"], sort=True):
        people = part.drop_duplicates("person")
        sex = people["sex"].str.upper().str[:1]
        known = sex[sex.isin(["F", "M"])]
        rows.append(
            {
                "site": site,
                "group": "patients" if label == 1 else "controls",
                "people": len(people),
                "runs": len(part),
                "age": _mean_and_spread(people["age"]),
                "female": f"{(known == 'F').mean():.0%}" if len(known) else "unknown",
                "fd": f"{part['fd_mean'].mean():.2f} mm" if part["fd_mean"].notna().any() else "unknown",
            }
        )
    return rows


def _mean_and_spread(values: pd.Series) -> str:
    if not values.notna().any():
        return "unknown"
    spread = f" ± {values.std():.1f}" if values.notna().sum() > 1 else ""
    return f"{values.mean():.1f}{spread}"


def _protocol(inputs: ReportInputs) -> list[tuple[str, str]]:
    cache, config = inputs.cache, inputs.config
    found = [
        (
            "Split",
            f"{config.folds} folds by person, stratified by group and site (seed {config.seed}); scaling and"
            " every other learned step inside the training fold; the same folds for every model",
        ),
        (
            "Interval",
            "2,000 bootstrap samples of people, pairs compared within folds; training variance is not in it",
        ),
        ("Cleaning", cache.identity),
    ]
    if in_focus(inputs.evaluation).name == TRANSFORMER:
        found += _transformer(config, inputs.tokens or config.tokens)
    if any(o.name == SLICES for o in inputs.evaluation.outcomes):
        found.append(
            ("Frozen pictures", f"{config.slice_backbone} sees slices of the runs; nothing in it is trained")
        )
    if inputs.no_map:
        found.append(("Map of votes", f"none: {inputs.no_map}"))
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    found.append(("Versions", f"chiasm {version('chiasm')}, Python {platform.python_version()}, {versions}"))
    if inputs.command:
        found.append(("Command", inputs.command))
    return found


def _transformer(config: StudyConfig, tokens: TokenSpec) -> list[tuple[str, str]]:
    model, training = config.model or ModelConfig(), config.training
    start = f"{config.init_from}: an encoder trained before" if config.init_from else None
    found = [
        ("Transformer", start or backbone_in_words(model.backbone)),
        ("Tokens", tokens_in_words(tokens)),
        ("Training", _training(training, config.seed)),
    ]
    if training.adaptation.method != "full":
        found.append(("What learned", METHODS[training.adaptation.method]))
    return found


def _training(training: TrainingConfig, seed: int) -> str:
    if training.adaptation.method == "svm":
        return f"in one go, with C = {training.adaptation.svm_c:g}, seed {seed}"
    optimizer = training.optimizer
    return (
        f"{training.epochs} epochs, batches of {training.batch_size}, AdamW at"
        f" {optimizer.learning_rate:g}, weight decay {optimizer.weight_decay:g}, seed {seed}"
    )


def tokens_in_words(spec: TokenSpec) -> str:
    """What a token is."""
    if isinstance(spec, VolumeSpec):
        return (
            f"cubes of {spec.patch_mm:g} mm over {spec.window_frames} of {spec.frames} frames;"
            f" {'the whole grid' if spec.whole_grid else 'only those that touch the brain'}"
        )
    if isinstance(spec, SliceSpec):
        return f"{spec.slices} slices of {spec.frames} sampled frames through {spec.backbone}, frozen"
    if isinstance(spec, ParcelSpec) and spec.is_profile:
        kind = "partial correlations" if spec.profile == "partial" else "correlations"
        return f"regions of {spec.atlas}, each its {kind} with all regions over {spec.frames} frames"
    if isinstance(spec, ParcelSpec):
        return f"regions of {spec.atlas} over {spec.window_frames} of {spec.frames} frames"
    return spec.kind


def backbone_in_words(name: str) -> str:
    """What kind of start a backbone gives the Transformer."""
    if name.startswith("scratch:"):
        return f"{name}: a small Vision Transformer initialised from scratch, with no pretrained weights"
    return f"{name}: pretrained on pictures, its patch embedding inflated to space and time, then fine-tuned"
