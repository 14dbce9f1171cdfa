"""Files come, are copied, moved, changed and deleted; a dictionary says what the index must then hold."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from PIL import Image

from data.photo_walk import walk_photos
from vision.retrieval.hits import live_hits
from vision.retrieval.ingest import Ingest, IngestOptions
from vision.retrieval.picture import Picture
from vision.retrieval.summary import IndexSummary
from vision.store.edge_store import EdgeStore

NAMES = ["a.png", "b.png", "c.png", "raw/d.png", "raw/e.png"]
names, colours, places = st.sampled_from(NAMES), st.integers(0, 4), st.integers(0, 99)
numbers = itertools.count()


class IndexMachine(RuleBasedStateMachine):
    """`files` is what is on the disk, `held` what the index must believe; both name the colour of a file."""

    base: Path
    model: Any
    store: EdgeStore  # one for all examples, emptied by each: making one takes long

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, int] = {}
        self.held: dict[str, int] = {}

    @initialize(files=st.dictionaries(names, colours, min_size=2))
    def start(self, files: dict[str, int]) -> None:
        self.root = self.base / f"{next(numbers)}/photos"
        (self.root / "raw").mkdir(parents=True)
        for name, colour in files.items():
            self.write(name, colour)
        self.update(prune=False, leave_raw=False)

    # What people do to files

    @rule(name=names, colour=colours)
    def write(self, name: str, colour: int) -> None:
        Image.new("RGB", (12, 8), (40 * colour, 200 - 40 * colour, 9)).save(self.root / name)
        self.files[name] = colour

    @precondition(lambda self: self.files)
    @rule(old=places, new=names)
    def move(self, old: int, new: str) -> None:
        name = self.existing(old)
        (self.root / name).rename(self.root / new)
        self.files[new] = self.files.pop(name)

    @precondition(lambda self: self.files)
    @rule(old=places, new=names)
    def copy(self, old: int, new: str) -> None:
        name = self.existing(old)
        if name != new:
            shutil.copy(self.root / name, self.root / new)
            self.files[new] = self.files[name]

    @precondition(lambda self: self.files)
    @rule(old=places)
    def delete(self, old: int) -> None:
        name = self.existing(old)
        (self.root / name).unlink()
        del self.files[name]

    @precondition(lambda self: self.files)
    @rule(old=places)
    def touch(self, old: int) -> None:
        (self.root / self.existing(old)).touch()

    def existing(self, number: int) -> str:
        return sorted(self.files)[number % len(self.files)]

    # What the index makes of it

    @rule(prune=st.booleans(), leave_raw=st.sampled_from([False, False, True]))
    def update(self, prune: bool, leave_raw: bool) -> None:
        seen = {
            name: colour for name, colour in self.files.items() if not (leave_raw and name.startswith("raw"))
        }
        gone = {name: colour for name, colour in self.held.items() if name not in self.files}
        summary = self.run(prune, ("raw/",) if leave_raw else ())
        assert summary.failed == []
        assert summary.added + summary.changed + summary.moved + summary.unchanged == len(seen)
        assert summary.embedded == len(set(seen.values()) - set(self.held.values()))
        assert summary.changed == sum(self.held.get(name, colour) != colour for name, colour in seen.items())
        found = self.found()
        if prune:
            assert found == seen
            before = {**self.held, **seen}
            assert summary.removed == len(before) - len(seen) - summary.moved
        else:
            left = {name: colour for name, colour in found.items() if name in gone}
            assert summary.removed == 0
            assert left.items() <= gone.items()
            assert len(gone) - len(left) == summary.moved
            kept = {name: colour for name, colour in self.held.items() if name not in gone}
            assert found == {**kept, **seen, **left}
        self.held = found
        assert self.store.count() == len(set(found.values()))

    def run(self, prune: bool, exclude: tuple[str, ...]) -> IndexSummary:
        options = IngestOptions(batch_size=2, decode_workers=2, exclude=exclude)
        run = Ingest(self.store, self.model(), options, roots=[self.root])
        run.add(walk_photos([self.root], exclude=exclude))
        if prune:
            run.prune()
        return run.finish()

    def found(self) -> dict[str, int]:
        """All that the store holds; each path once."""
        pictures = [Picture.from_payload(row.payload) for row in self.store.scan()]
        places = [place for picture in pictures for place in picture.places]
        assert len({place.path for place in places}) == len(places)
        assert all(place.tags == place.path.relative_to(self.root).parts[:-1] for place in places)
        return {
            place.path.relative_to(self.root).as_posix(): self.colour(picture)
            for picture in pictures
            for place in picture.places
        }

    def colour(self, picture: Picture) -> int:
        vector_E = self.store.vectors([picture.id])[picture.id]
        red, green, _ = vector_E / vector_E.max()
        return min(range(5), key=lambda n: abs(red * (201 - 40 * n) - green * (40 * n + 1)))

    @invariant()
    def only_files_that_are_there_come_up(self) -> None:
        if hasattr(self, "store"):
            hits = list(live_hits(self.store.scan()))
            paths = [
                path.relative_to(self.root).as_posix() for hit in hits for path in (hit.path, *hit.copies)
            ]
            assert sorted(paths) == sorted(set(self.held) & set(self.files))

    def teardown(self) -> None:
        self.store.delete([row.id for row in self.store.scan()])
        if hasattr(self, "root"):
            shutil.rmtree(self.root.parent)


def test_the_index_agrees_with_a_dictionary(tmp_path: Path, colours: Any) -> None:
    store = EdgeStore.create(tmp_path / "store", 3)
    machine = type("Machine", (IndexMachine,), {"base": tmp_path, "model": type(colours), "store": store})
    quick = settings(
        max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(machine, settings=quick)
    store.close()
