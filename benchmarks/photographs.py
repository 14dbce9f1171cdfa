"""The real photographs that benchmarks read, where they lie."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

DEFAULT = Path(__file__).parents[2] / "shared" / "data"


def add_photos_option(parser: argparse.ArgumentParser) -> None:
    """`--photos DIR`: by default photos/ of $CHIASM_SHARED, or of ../shared/data."""
    shared = Path(os.environ.get("CHIASM_SHARED", DEFAULT))
    parser.add_argument("--photos", type=Path, default=shared / "photos", help="folder of photographs")
