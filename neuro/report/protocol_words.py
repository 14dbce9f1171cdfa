"""How a study was done, in words: configuration, plan -> terms and sentences for the report."""

from __future__ import annotations

import platform
from importlib.metadata import version

from data.caches.cache import Cache
from neuro.model import ModelConfig
from neuro.protocol.plan import Plan
from neuro.study import StudyConfig
from neuro.tokens import ParcelSpec, SliceSpec, TokenSpec, VolumeSpec
from neuro.training.config import TrainingConfig

METHODS = {
    "lora": "low-rank updates of the trunk's blocks, embeddings and readout",
    "linear": "the readout alone, on a frozen encoder",
    "attentive": "a readout that attends, on a frozen encoder",
    "svm": "the readout alone, a linear support vector machine over all tokens of a frozen encoder, by place",
}
LIBRARIES = ("torch", "timm", "nilearn", "nibabel", "scikit-learn", "numpy")


def protocol_rows(cache: Cache, config: StudyConfig, plan: Plan, tokens: TokenSpec) -> list[tuple[str, str]]:
    """Terms and what they were in this study.

    Args:
        cache: the cohort.
        config: what was compared.
        plan: the folds.
        tokens: how the Transformer's runs were cut.
    """
    dealt = plan.config
    found = [
        (
            "Split",
            f"{dealt.folds} folds by person, stratified by group and site, dealt out {len(plan.within)}"
            f" time{'s' * (len(plan.within) != 1)} (seed {dealt.seed}); the same folds for every model"
            + (f"; each of {len(plan.across)} sites by models of the others" if plan.across else ""),
        ),
        (
            "Inside the training fold",
            f"scaling, harmonization, choice of settings, threshold and calibration ({config.calibration}):"
            f" the last three by {dealt.inner} inner folds by person",
        ),
        ("Settings to choose among", f"{len(config.grid)} of the Transformer; one of every other model"),
        (
            "Intervals",
            "of the table: 2,000 bootstrap samples of people, pairs compared within folds, the trained models"
            " given; of the verdict: the variance of training is counted too",
        ),
        ("Cleaning", cache.identity),
        *_transformer(config, tokens),
    ]
    if config.slice_backbone is not None:
        found.append(
            ("Frozen pictures", f"{config.slice_backbone} sees slices of the runs; nothing in it is trained")
        )
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    found.append(("Versions", f"chiasm {version('chiasm')}, Python {platform.python_version()}, {versions}"))
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
