"""`neuro export`: a cache in Brainmarks' layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuro.commands.options import CacheFolder


def export(
    cache: CacheFolder,
    out: Annotated[Path, typer.Option(help="Folder; DATASET.SPACE.arrow is written in it.")],
    space: Annotated[str, typer.Option(help="An atlas of the cache, or a space of Brainmarks' (mni).")],
    dataset: Annotated[str, typer.Option(help="First part of the name.")] = "ppmi",
    atlas: Annotated[str | None, typer.Option(help="The cache's atlas, if it is called otherwise.")] = None,
    mask: Annotated[Path | None, typer.Option(help="For mni: which voxels the space has.")] = None,
    frames: Annotated[int | None, typer.Option(help="Keep this many from the start, for one length.")] = None,
    folds: Annotated[int, typer.Option(help="People are dealt out in so many; one is tested.")] = 5,
    seed: Annotated[int, typer.Option(help="Same seed, same result.")] = 0,
) -> None:
    """Write a cache in Brainmarks' Arrow layout: train, validation and test, nobody in two of them."""
    from data.caches.cache import Cache
    from data.exchange.arrow_export import ArrowSpec, export_arrow

    spec = ArrowSpec(
        space=space, dataset=dataset, atlas=atlas, mask=mask, frames=frames, folds=folds, seed=seed
    )
    opened = Cache.open(cache)
    print(f"{len(opened)} runs in {export_arrow(opened, spec, out)}")
