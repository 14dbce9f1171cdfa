"""Ways to fit a model to a task, for pictures and for brains alike: what learns, how fast, and from what.

Probes and support vectors learn on frozen features and LoRA learns small updates; layer-wise rates, averaged
weights, dropped blocks, mixed samples and weighted classes belong to the training of whole models.
"""

from vision.adapt.attentive_probe import AttentiveProbe, AttentiveProbeOptions, fit_attentive_probe
from vision.adapt.class_weights import class_weights
from vision.adapt.drop_path import depth_rates, dropped
from vision.adapt.ema import MovingAverage
from vision.adapt.layer_decay import layer_groups
from vision.adapt.linear_probe import fit_linear_probe
from vision.adapt.lora import LoraOptions, add_lora, merge_lora
from vision.adapt.mixup import Mixture, draw_mixture, mix, mixed_targets
from vision.adapt.picture_tower import picture_tower
from vision.adapt.support_vectors import fit_linear_svm

__all__ = [
    "AttentiveProbe",
    "AttentiveProbeOptions",
    "LoraOptions",
    "Mixture",
    "MovingAverage",
    "add_lora",
    "class_weights",
    "depth_rates",
    "draw_mixture",
    "dropped",
    "fit_attentive_probe",
    "fit_linear_probe",
    "fit_linear_svm",
    "layer_groups",
    "merge_lora",
    "mix",
    "mixed_targets",
    "picture_tower",
]
