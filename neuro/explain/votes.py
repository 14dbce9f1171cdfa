"""The votes that a readout has already: what each place adds to a run's logit.

A logit is a sum of votes, one a token; those of a place, in all windows of time, are added up. They say where
the last layer read the difference; attention has mixed tokens before that, so they are a pointer and not a
proof.
Letters: S places.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuro.model import BrainTransformer, run_votes
from neuro.tokens import RunTokens


def votes(model: BrainTransformer, run: RunTokens) -> NDArray[np.float32]:
    """Vote of each place of a run (S,): the sum over windows, the mean over clips.

    With the readout's bias they add up to the run's logit.

    Raises:
        ParameterError: the readout's logit is no sum of votes.
    """
    votes_S: NDArray[np.float32] = run_votes(model, run).numpy()
    return votes_S
