"""Both halves in one process, so that they share one model: `make demo` runs this.

The very instance of `embedded:lite` that answers the picture queries then looks at slices of brain runs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console
from rich.rule import Rule

from data.command_line import run

NEXT = """\
Try next
  .venv/bin/vision serve --store {store}   a search page over these pictures
  .venv/bin/vision index ~/Pictures --store my-index   your own pictures
  .venv/bin/vision search "a dog" --store my-index     ask them something
  .venv/bin/vision models                              CLIP and ViT models, where a hub can be reached
  .venv/bin/neuro demo --effect 0                      no planted effect: what chance looks like
  .venv/bin/neuro prepare FMRIPREP --out cache         your own cohort
  .venv/bin/neuro evaluate cache --out study           and what can be told from it"""


def main() -> None:
    """Run the picture half, then the brain half, and say where everything lies."""
    parser = argparse.ArgumentParser(description="Picture search and brain classifier, end to end.")
    parser.add_argument("--out", type=Path, default=Path("demo-out"))
    parser.add_argument("--photos", type=Path, action="append", default=[], help="index this folder too")
    options = parser.parse_args()
    console = Console()
    began = time.monotonic()

    console.print(Rule("Loading PyTorch and the libraries"))
    from neuro import demo as brains
    from neuro.console import show_results
    from vision import demo as pictures
    from vision.backbones import load_backbone

    console.print(Rule("Pictures: search with no model hub"))
    pictures.run(options.out, options.photos)
    searched_with = load_backbone(pictures.MODEL)

    console.print(Rule("Brains: a simulated two-site cohort, and what can be told from it"))
    result = brains.run(options.out / "brain")
    show_results(result.study.reading, console)
    # One instance for each name: had the brain half loaded a model of its own, this would not hold.
    assert load_backbone(brains.SLICE_MODEL) is searched_with

    console.print(Rule(f"Done in {(time.monotonic() - began) / 60:.1f} minutes"))
    console.print(f"Contact sheets   {options.out / 'pictures'}")
    console.print(f"Brain report     {result.report}   (open it in a browser)")
    console.print(
        f"One {searched_with.name} in memory answered the queries and looked at the brain slices.\n"
    )
    print(NEXT.format(store=options.out / "pictures/index"))


if __name__ == "__main__":
    run(main)
