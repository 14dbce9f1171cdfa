"""`neuro leak-demo`: how well a classifier seems to do on labels by lot when samples are split at random."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuro.commands.options import Out, Seed


def leak_demo(
    out: Out,
    cache: Annotated[
        Path | None, typer.Argument(help="What `neuro prepare` wrote; without it, people are simulated.")
    ] = None,
    subjects: Annotated[int, typer.Option(help="People to simulate.")] = 40,
    draws: Annotated[int, typer.Option(help="How often labels are drawn by lot.")] = 20,
    seed: Seed = 0,
) -> None:
    """Split samples of labels by lot at random, then by person: what a leak is worth (Yagis et al. 2021)."""
    from data.caches.cache import Cache
    from neuro.protocol.leak_demo import in_words, write_leak_demo
    from neuro.protocol.leak_demo import leak_demo as run
    from neuro.protocol.leak_samples import cached_samples, simulated_samples

    if cache is not None:
        samples = cached_samples(Cache.open(cache), seed)
    else:
        samples = simulated_samples(subjects, seed)
    found = run(samples, draws=draws, seed=seed)
    page = write_leak_demo(found, out)
    for line in in_words(found):
        print(line)
    print(f"page: {page}")
