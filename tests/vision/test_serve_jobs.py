"""Updates of the index by way of the server: begun, followed, ended, and searched beside."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from data.errors import HubUnreachableError
from tests.vision.asking import API, Serve, problem
from vision.retrieval import ImageIndex
from vision.server import jobs as server_jobs
from vision.server.app import create_app
from vision.server.options import ServerOptions
from vision.server.problems import Problem
from vision.server.schemas import Job


def follow(client: Any, id: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of an update until its end."""
    answer = client.get(f"{API}/jobs/{id}/events")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = []
    for block in answer.text.split("\n\n")[:-1]:
        name, data = block.split("\n")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def start(client: Any, **how: Any) -> str:
    answer = client.post(f"{API}/jobs", json=how)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def paint(path: Path, *rgb: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), rgb).save(path)


class Gate:
    """Holds the model at its next batch of pictures until it is opened."""

    def __init__(self, model: Any, monkeypatch: pytest.MonkeyPatch):
        self.reached, self.opened = threading.Event(), threading.Event()
        encode = model.encode_image

        def encode_image(pixels_BCHW: torch.Tensor) -> torch.Tensor:
            self.reached.set()
            assert self.opened.wait(60)
            return encode(pixels_BCHW)

        monkeypatch.setattr(model, "encode_image", encode_image)


@pytest.fixture
def gate(colour_index: ImageIndex, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(colour_index.backbone, monkeypatch)
    yield gate
    gate.opened.set()


def test_an_update_is_followed_to_its_end(client: Any, album: Path) -> None:
    paint(album / "new/orange.png", 255, 128, 0)
    (album / "red.png").unlink()
    (album / "empty.jpg").touch()
    answer = client.post(f"{API}/jobs", json={})
    said = answer.json()
    assert (answer.status_code, said["state"], said["ended_at"], said["summary"]) == (
        202,
        "running",
        None,
        None,
    )
    assert f"{API}/{answer.headers['location']}" == f"{API}/jobs/{said['id']}"  # it stands beside /jobs
    events = follow(client, said["id"])
    assert {name for name, _ in events[:-1]} <= {"progress"}
    assert events[-1][0] == "end"
    end = events[-1][1]
    assert (end["id"], end["state"], end["detail"]) == (said["id"], "done", None)
    assert (end["done"], end["total"]) == (6, 6)
    assert end["started_at"] <= end["ended_at"]
    summary = end["summary"]
    assert [summary[name] for name in ("added", "changed", "moved", "unchanged", "removed")] == [
        1,
        0,
        0,
        4,
        0,
    ]
    assert summary["failed"] == [{"path": f"{album}/empty.jpg", "reason": "an empty file (0 bytes)"}]
    assert client.get(f"{API}/jobs/{said['id']}").json() == end
    assert client.get(f"{API}/jobs").json() == {"jobs": [end]}
    assert follow(client, said["id"]) == [("end", end)]
    found = client.post(f"{API}/search", json={"where": "tags contains 'new'"}).json()
    assert [one["name"] for one in found["pictures"]] == ["orange.png"]


def test_what_is_gone_is_forgotten_where_that_is_asked(
    client: Any, colour_index: ImageIndex, album: Path
) -> None:
    (album / "red.png").unlink()
    key = colour_index.model.key
    assert client.get(f"{API}/collections/{key}/facets").json()["pictures"] == 5
    assert follow(client, start(client))[-1][1]["summary"]["removed"] == 0
    assert client.get(f"{API}/health").json()["pictures"] == 5
    assert follow(client, start(client, prune=True))[-1][1]["summary"]["removed"] == 1
    assert client.get(f"{API}/health").json()["pictures"] == 4
    assert client.get(f"{API}/collections/{key}/facets").json()["fields"]["format"] == [
        {"value": "PNG", "count": 4}
    ]


def test_searches_go_on_while_an_update_runs(client: Any, album: Path, gate: Gate) -> None:
    paint(album / "orange.png", 255, 128, 0)
    id = start(client)
    assert gate.reached.wait(60)
    found = client.post(f"{API}/search", json={"terms": [{"text": "red"}]}).json()
    assert found["pictures"][0]["name"] == "red.png"
    picture = found["pictures"][0]["id"]
    assert client.get(f"{API}/pictures/{picture}/thumbnail").status_code == 200
    job = client.get(f"{API}/jobs/{id}").json()
    assert (job["state"], job["stage"]) == ("running", "indexing")
    with ThreadPoolExecutor(1) as threads:
        events = threads.submit(follow, client, id)
        gate.opened.set()
        assert events.result(timeout=60)[-1][1]["state"] == "done"
    assert client.get(f"{API}/health").json()["pictures"] == 6


def test_there_is_one_update_at_a_time(client: Any, album: Path, gate: Gate) -> None:
    paint(album / "orange.png", 255, 128, 0)
    id = start(client)
    assert gate.reached.wait(60)
    assert "under way" in problem(client.post(f"{API}/jobs", json={}), "conflict", 409)
    gate.opened.set()
    assert follow(client, id)[-1][1]["state"] == "done"
    assert start(client) != id


def test_an_update_that_is_cancelled_keeps_what_it_has_done(
    client: Any, colour_index: ImageIndex, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(24):  # a batch, and half of another
        paint(album / f"more/{number:02}.png", 10 * number, 9, 9)
    second, opened, calls = threading.Event(), threading.Event(), list[int]()
    encode = colour_index.backbone.encode_image

    def encode_image(pixels_BCHW: torch.Tensor) -> torch.Tensor:
        calls.append(len(pixels_BCHW))
        if len(calls) == 2:
            second.set()
            assert opened.wait(60)
        return encode(pixels_BCHW)

    monkeypatch.setattr(colour_index.backbone, "encode_image", encode_image)
    id = start(client)
    assert second.wait(60)
    answer = client.delete(f"{API}/jobs/{id}")
    assert (answer.status_code, answer.json()["state"], answer.json()["stage"]) == (
        202,
        "running",
        "stopping",
    )
    opened.set()
    end = follow(client, id)[-1][1]
    assert (end["state"], end["summary"]) == ("cancelled", None)
    kept = client.get(f"{API}/health").json()["pictures"]
    assert 5 + 16 <= kept <= 5 + 24
    again = client.delete(f"{API}/jobs/{id}")  # which changes nothing
    assert (again.status_code, again.json()) == (202, end)
    assert follow(client, start(client))[-1][1]["summary"]["added"] == 29 - kept


def test_an_index_that_knows_no_folder_is_not_updated(serve: Serve, tmp_path: Path, colours: Any) -> None:
    client = serve(ImageIndex.create(tmp_path / "store", colours))
    assert "vision index" in problem(client.post(f"{API}/jobs", json={}), "conflict", 409)
    assert client.get(f"{API}/jobs").json() == {"jobs": []}


def test_a_folder_that_is_gone_fails_an_update(client: Any, album: Path) -> None:
    shutil.rmtree(album)
    end = follow(client, start(client))[-1][1]
    assert (end["state"], end["stage"], end["summary"]) == ("failed", "failed", None)
    assert str(album) in end["detail"]
    assert client.get(f"{API}/health").json()["pictures"] == 5


def test_a_model_that_cannot_be_had_fails_an_update(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(index: ImageIndex) -> None:
        raise HubUnreachableError("weights", must_be="in the cache", got="none")

    monkeypatch.setattr(ImageIndex, "backbone", property(unreachable))
    end = follow(client, start(client))[-1][1]
    assert (end["state"], end["detail"]) == ("failed", "weights must be in the cache, got none.")


def test_a_bug_ends_an_update_and_keeps_its_secrets(
    client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(index: ImageIndex, *roots: Any, **options: Any) -> None:
        raise RuntimeError("a bug with a secret in it")

    with monkeypatch.context() as patch:
        patch.setattr(ImageIndex, "add_folder", broken)
        end = follow(client, start(client))[-1][1]
    assert end["state"] == "failed"
    assert "secret" not in end["detail"]
    assert "a bug with a secret in it" in caplog.text
    assert follow(client, start(client))[-1][1]["state"] == "done"


@pytest.mark.skipif(os.fsencode("\udce9") != b"\xe9", reason="file names are no bytes here")
def test_failures_whose_names_are_no_text_are_listed_as_text(client: Any, album: Path) -> None:
    (album / os.fsdecode(b"caf\xe9.png")).write_bytes(b"nothing")
    end = follow(client, start(client))[-1][1]
    assert [one["path"] for one in end["summary"]["failed"]] == [f"{album}/caf\\xe9.png"]
    assert client.get(f"{API}/jobs").json() == {"jobs": [end]}


@pytest.mark.skipif(os.fsencode("\udce9") != b"\xe9", reason="file names are no bytes here")
def test_a_folder_whose_name_is_no_text_fails_in_text(serve: Serve, tmp_path: Path, colours: Any) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    paint(folder / "red.png", 255, 0, 0)
    index = ImageIndex.create(tmp_path / "store", colours)
    index.add_folder([folder])
    client = serve(index)
    assert client.get(f"{API}/collections").json()["collections"][0]["roots"] == [f"{tmp_path}/caf\\xe9"]
    shutil.rmtree(folder)
    end = follow(client, start(client))[-1][1]
    assert f"{tmp_path}/caf\\xe9" in end["detail"]


def test_long_lists_of_failures_are_cut(client: Any, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_jobs, "FAILURES", 3)
    for number in range(5):
        (album / f"{number}.jpg").touch()
    assert len(follow(client, start(client))[-1][1]["summary"]["failed"]) == 3


def test_old_updates_are_forgotten(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_jobs, "REMEMBERED", 3)
    ids = []
    for _ in range(5):
        ids.append(start(client))
        follow(client, ids[-1])
    assert [one["id"] for one in client.get(f"{API}/jobs").json()["jobs"]] == ids[:1:-1]
    problem(client.get(f"{API}/jobs/{ids[0]}"), "not-found", 404)


def test_unknown_updates_are_told(client: Any) -> None:
    for url in (f"{API}/jobs/{'0' * 16}", f"{API}/jobs/{'0' * 16}/events"):
        problem(client.get(url), "not-found", 404)
    problem(client.delete(f"{API}/jobs/{'0' * 16}"), "not-found", 404)
    for id in ("nothing", "..%5c", "0" * 17):
        problem(client.get(f"{API}/jobs/{id}"), "unprocessable", 422)
    problem(client.get(f"{API}/jobs/..%2f"), "not-found", 404)
    for wrong in ({"prune": "yes"}, {"roots": ["/etc"]}, {"folder": "/etc"}):
        problem(client.post(f"{API}/jobs", json=wrong), "unprocessable", 422)
    assert client.get(f"{API}/jobs").json() == {"jobs": []}


def test_a_silent_update_shows_that_the_stream_lives(
    client: Any, album: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vision.server.routes.jobs.SILENCE_S", 0.01)
    monkeypatch.setattr("vision.server.routes.jobs.LOOK_S", 0.01)
    paint(album / "orange.png", 255, 128, 0)
    id = start(client)
    assert gate.reached.wait(60)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(client.get, f"{API}/jobs/{id}/events")
        time.sleep(0.2)  # of silence, which is what is looked at
        gate.opened.set()
        text = answer.result(timeout=60).text
    assert ": still there\n\n" in text
    assert text.count("event: end") == 1


def test_streams_end_when_the_server_does(
    colour_index: ImageIndex, album: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = threading.Event()
    monkeypatch.setattr("vision.server.routes.jobs.LOOK_S", 0.01)
    app = create_app(colour_index, ServerOptions(), warm_up=False, ending=ending)
    paint(album / "orange.png", 255, 128, 0)
    with TestClient(app, "http://localhost") as client, ThreadPoolExecutor(1) as threads:
        id = start(client)
        assert gate.reached.wait(60)
        answer = threads.submit(client.get, f"{API}/jobs/{id}/events")
        ending.set()
        assert "event: end" not in answer.result(timeout=60).text  # the update goes on
        gate.opened.set()


def test_the_end_cancels_what_is_under_way(serve: Serve, tmp_path: Path, colours: Any, album: Path) -> None:
    index = ImageIndex.create(tmp_path / "store", colours)
    index.add_folder([album])
    for number in range(20):
        paint(album / f"more/{number:02}.png", 10 * number, 9, 9)
    with TestClient(create_app(index, ServerOptions(), warm_up=False), "http://localhost") as client:
        assert client.post(f"{API}/jobs", json={}).status_code == 202
    with ImageIndex.open(tmp_path / "store", colours) as again:  # it was let go of, and is whole
        assert 5 <= len(again) <= 25
        assert again.search("red", k=1)[0].path.name == "red.png"


def test_a_cancel_that_comes_too_late_does_not_undo_the_end(
    colour_index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last word of an update is its end, whatever is being said of it in another thread."""
    jobs = server_jobs.Jobs(colour_index, lambda: None)
    copying, opened = threading.Event(), threading.Event()
    copy = Job.model_copy

    def slow(job: Job, **options: Any) -> Job:
        if options["update"].get("stage") == "stopping":
            copying.set()
            opened.wait(1)
        return copy(job, **options)

    gate = Gate(colour_index.backbone, monkeypatch)
    monkeypatch.setattr(Job, "model_copy", slow)
    paint(Path(colour_index.notes.roots[0]) / "orange.png", 255, 128, 0)
    id = jobs.start(prune=False).id
    assert gate.reached.wait(60)
    with ThreadPoolExecutor(1) as threads:
        cancelled = threads.submit(jobs.cancel, id)
        assert copying.wait(60)
        gate.opened.set()
        jobs._thread.shutdown(wait=True)
        opened.set()
        cancelled.result()
    assert jobs.get(id).state == "cancelled"
    assert jobs.cancel(id).stage == "cancelled"
    with pytest.raises(Problem, match="no such update"):
        jobs.get("x")
