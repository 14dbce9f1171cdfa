"""A finished pretraining's folder -> its objective again, decoder and all, to ask what surprises it."""

from __future__ import annotations

import json
from pathlib import Path

from neuro.model.encoder_folder import load_encoder
from neuro.model.model_folder import damage_told
from neuro.options_from import options_from
from neuro.pretrain.contrastive import ContrastiveConfig, ContrastiveModelling
from neuro.pretrain.lesson import Modelling
from neuro.pretrain.masked import MaskedConfig, MaskedModelling
from neuro.pretrain.phase import OBJECTIVE
from neuro.pretrain.run import RUN
from neuro.tokens import TokenSpec


def load_modelling(folder: str | Path, *, device: str = "auto") -> tuple[Modelling, TokenSpec]:
    """What `neuro pretrain` trained, in evaluation mode, and how the runs are cut that it takes.

    Raises:
        BadFileError: the folder is no finished pretraining, or a file of it is damaged.
        ParameterError: there is no such device.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    encoder, spec = load_encoder(folder, device=device)
    must_be = "a folder that `neuro pretrain` finished"
    with damage_told("pretraining", must_be=must_be, do="name another, or pretrain again", path=folder):
        facts = json.loads((folder / RUN).read_text(encoding="utf-8"))
        told = facts["pretraining"]
        modelling: Modelling
        if told["objective"] == "masked":
            modelling = MaskedModelling(encoder, options_from(MaskedConfig, told["masked"], "masked"))
        else:
            config = options_from(ContrastiveConfig, told["contrastive"], "contrastive")
            modelling = ContrastiveModelling(encoder, config)
        modelling.load_state_dict(load_file(folder / f"phase-{len(facts['phases'])}" / OBJECTIVE))
    return modelling.to(encoder.backbone.device).eval(), spec
