"""Requests made up from the server's own description, good and bad, and whether it keeps its word."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
import schemathesis
import torch
from PIL import Image
from schemathesis import engine
from schemathesis.config import (
    ChecksConfig,
    GenerationConfig,
    PhasesConfig,
    PositiveDataAcceptanceConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
    StatefulPhaseConfig,
)
from schemathesis.engine import events
from torch.nn import functional as F

from tests.vision.asking import API
from tests.vision.conftest import COLOURS, ColourEmbedder
from vision.retrieval import ImageIndex
from vision.server.app import create_app
from vision.server.options import Limits, ServerOptions
from vision.server.serve import listen, server_of

EXAMPLES = 12  # made up for each route, beside those that follow from its limits one by one

pytestmark = pytest.mark.slow


class WordyEmbedder(ColourEmbedder):
    """One that has a vector for any sentence."""

    def encode_text(self, sentences: Sequence[str]) -> torch.Tensor:
        seeds = [int.from_bytes(hashlib.sha256(one.encode()).digest()[:4]) for one in sentences]
        rows = [torch.randn(3, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return F.normalize(torch.stack(rows), dim=-1)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in a thread, over pictures with captions and columns."""
    folder = tmp_path_factory.mktemp("fuzzed")
    (folder / "album").mkdir()
    for number, (name, rgb) in enumerate(COLOURS.items()):
        Image.new("RGB", (20 + number, 10), rgb).save(folder / f"album/{name}.png")
    with (
        pytest.MonkeyPatch.context() as patch,
        ImageIndex.create(folder / "store", WordyEmbedder()) as index,
    ):
        patch.setenv("CHIASM_CACHE", str(folder / "cache"))
        index.add_folder([folder / "album"])
        index.set_captions({folder / "album/red.png": "a dog on a beach"})
        index.set_columns((id, {"kind": "plain", "none": None, "share": 0.5}) for id, _ in index.browse())
        options = ServerOptions(port=0, limits=Limits(rate=0))
        listening, started, ending = listen(options), threading.Event(), threading.Event()
        server = server_of(create_app(index, options, warm_up=False, ending=ending), started.set, ending)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            assert started.wait(60)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(60)
        assert not thread.is_alive()
        assert ending.is_set()


def wrongs(event: events.ScenarioFinished) -> Iterator[str]:
    """What is not as described: the route, the check, what it says, and how to ask for it again."""
    for nodes in event.recorder.checks.values():
        for node in nodes:
            if (found := node.failure_info) is not None:
                said = f"{found.failure.title}: {found.failure.message}"
                yield f"{event.recorder.label}: {node.name}: {said}\n{found.code_sample}"


def test_the_server_keeps_the_word_of_its_description(address: str) -> None:
    checks = ChecksConfig(
        # A filter, a cursor, terms that take each other away, bytes that are no picture: no schema tells
        # these from good ones, and the description says that such requests are answered by 422.
        positive_data_acceptance=PositiveDataAcceptanceConfig(enabled=False),
    )
    generation = GenerationConfig(deterministic=True, max_examples=EXAMPLES, database="none")
    phases = PhasesConfig(stateful=StatefulPhaseConfig(enabled=False))  # its links are guessed from names
    project = ProjectConfig(checks=checks, generation=generation, phases=phases, continue_on_failure=True)
    config = SchemathesisConfig(seed=20240229, projects=ProjectsConfig(default=project))
    schema = schemathesis.openapi.from_url(f"{address}{API}/openapi.json", config=config)
    asked, answered, wrong = Counter[str](), Counter[int](), set[str]()
    for event in engine.from_schema(schema).execute():
        if isinstance(event, events.FatalError):
            raise event.exception
        if isinstance(event, events.NonFatalError):
            wrong.add(f"{event.label}: {event.value!r}")
        if isinstance(event, events.ScenarioFinished):
            asked[event.recorder.label] += len(event.recorder.cases)
            answers = (one.response for one in event.recorder.interactions.values())
            answered.update(0 if answer is None else answer.status_code for answer in answers)
            wrong |= {*wrongs(event)}
    assert not wrong, "\n".join(sorted(wrong))
    paths = schema.raw_schema["paths"]
    assert len(asked) == sum(len(methods) for methods in paths.values())
    assert {200, 201, 202, 204, 401, 404, 405, 422} <= set(answered)
    assert answered[0] == 0
    assert sum(asked.values()) > 500
