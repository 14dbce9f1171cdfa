"""The picture half of the demonstration: real photographs, five questions, a contact sheet for each."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import FingerprintMismatchError, MissingDependencyError
from data.photo_walk import photo_folder
from vision.backbones import Backbone, load_backbone
from vision.console import note, plain_table, print_table, printable, progress_bar
from vision.retrieval import Hit, ImageIndex
from vision.retrieval.sheet import contact_sheet, save_sheet

MODEL = "embedded:lite"
QUERIES = (
    "a cat",
    "a cup of coffee",
    "a space rocket launching",
    "a man taking a photograph",
    "coins",
)
# Of the pictures that scikit-image carries: drawings, scanned pages, and what a microscope saw.
NOT_PHOTOGRAPHS = frozenset(
    {"chessboard_GRAY.png", "chessboard_RGB.png", "color.png", "horse.png", "logo.png", "phantom.png"}
    | {"page.png", "text.png"}
    | {"cell.png", "ihc.png", "microaneurysms.png"}
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A query, what it found, best first, and the contact sheet that shows it."""

    query: str
    hits: tuple[Hit, ...]
    sheet: Path


@dataclass(frozen=True, kw_only=True)
class PictureDemo:
    """What the demonstration made: an index of `count` pictures in `store`, and the answers."""

    store: Path
    count: int
    model: str
    answers: tuple[Answer, ...]


def run(out: Path, photos: Sequence[Path] = (), *, k: int = 10) -> PictureDemo:
    """Index scikit-image's photographs and the folders `photos`, ask `QUERIES`, write sheets, print a table.

    Everything goes into `out/pictures`; a second run indexes only what has changed.

    Raises:
        MissingDependencyError: scikit-image or the parts of the embedded model are not installed.
        BadFileError: a folder of photographs is missing, or `out` cannot be written.
    """
    place, roots = Path(out) / "pictures", [photo_folder(folder) for folder in photos]
    with note(f"Loading {MODEL}"):
        backbone = load_backbone(MODEL)
    with _fresh_or_known(place / "index", backbone) as index:
        with progress_bar("Indexing scikit-image's photographs") as progress:
            print(index.add_files(packaged_photographs(), progress=progress))
        if roots:
            with progress_bar("Indexing your photographs") as progress:
                print(index.add_folder(roots, progress=progress))
        answers = []
        with progress_bar("Asking and drawing contact sheets") as progress:
            for number, query in enumerate(QUERIES, start=1):
                hits = index.search(query, k)
                sheet = save_sheet(contact_sheet(query, hits), place / f"{query.replace(' ', '-')}.jpg")
                answers.append(Answer(query=query, hits=tuple(hits), sheet=sheet))
                progress(number, len(QUERIES))
        result = PictureDemo(
            store=place / "index", count=len(index), model=index.model.name, answers=tuple(answers)
        )
    _print_answers(result)
    return result


def packaged_photographs() -> list[Path]:
    """The photographs that lie in scikit-image's package; nothing is fetched.

    Raises:
        MissingDependencyError: scikit-image is not installed.
    """
    found = importlib.util.find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        raise MissingDependencyError(
            "package scikit-image", must_be="installed", got="nothing", do="pip install 'chiasm[embedded]'"
        )
    folder = Path(found.submodule_search_locations[0]) / "data"
    pictures = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))
    return [path for path in pictures if path.name not in NOT_PHOTOGRAPHS]


def _fresh_or_known(store: Path, backbone: Backbone) -> ImageIndex:
    """The index of an earlier run; made anew where the model has changed since, as it is the demo's own."""
    try:
        return ImageIndex.create(store, backbone)
    except FingerprintMismatchError:
        shutil.rmtree(store)
        return ImageIndex.create(store, backbone)


def _print_answers(result: PictureDemo) -> None:
    table = plain_table("query", "best picture", "score", "contact sheet")
    for answer in result.answers:
        best = answer.hits[0]
        table.add_row(
            answer.query, printable(Path(best.path.name)), f"{best.score:.3f}", printable(answer.sheet)
        )
    print_table(table)
