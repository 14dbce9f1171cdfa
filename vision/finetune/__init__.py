"""Fine-tuning of models with a picture and a text half on pairs of pictures and captions."""

from vision.finetune.blend import Scored
from vision.finetune.options import FinetuneOptions, Machine
from vision.finetune.run import FinetuneResult, finetune
from vision.finetune.validation import Score

__all__ = ["FinetuneOptions", "FinetuneResult", "Machine", "Score", "Scored", "finetune"]
