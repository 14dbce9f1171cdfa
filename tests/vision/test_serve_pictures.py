"""Pictures over REST: what is known of them, their bytes, what they show, labels, and why they came up."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from PIL import Image

from data.errors import FingerprintMismatchError, ParameterError
from data.photos import PhotoFile
from tests.vision.asking import API, NOBODY, Serve, hold, ids_by_name, problem
from vision.retrieval import ImageIndex, Query
from vision.retrieval.classify import Labelling, classify_vectors
from vision.retrieval.templates import load_templates
from vision.retrieval.zero_shot import CLIP_SCALE
from vision.server import thumbnails
from vision.server.thumbnails import SIDES


def seen(answer: Any) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(BytesIO(answer.content))


def colour(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), dtype=float).mean(axis=(0, 1))


def served(serve: Serve, tmp_path: Path, colours: Any, folder: Path) -> tuple[Any, ImageIndex]:
    index = ImageIndex.create(tmp_path / "store", colours)
    index.add_folder([folder])
    return serve(index), index


# What is known of a picture


def test_a_picture_is_told_with_all_that_is_known(serve: Serve, tmp_path: Path, colours: Any) -> None:
    folder = tmp_path / "photos"
    (folder / "2023/Rügen & Co").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "NIKON", "D90", 6  # lying on its side
    exif.get_ifd(0x8769)[0x9003] = "2023:07:01 12:30:00"
    exif.get_ifd(0x8825).update({1: "S", 2: (54.0, 30.0, 0.0), 3: "E", 4: (13.0, 15.0, 0.0)})
    place = folder / "2023/Rügen & Co/strand.jpg"
    Image.new("RGB", (60, 40), "blue").save(place, exif=exif)
    shutil.copy(place, folder / "2023/copy.jpg")
    client, index = served(serve, tmp_path, colours, folder)
    index.set_captions({place: 'He said "\u2028<script>"'})
    id = ids_by_name(client)["strand"]
    index.set_columns([(id, {"kind": "beach", "kind_probability": 0.75, "none": None})])
    said = client.get(f"{API}/pictures/{id}").json()
    assert said == client.get(f"{API}/pictures/{id.upper()}").json()
    assert said["id"] == id
    assert (said["name"], said["path"]) == ("strand.jpg", str(place))
    assert said["copies"] == [f"{folder}/2023/copy.jpg"]
    assert (said["width"], said["height"], said["format"]) == (40, 60, "JPEG")
    assert (said["size"], said["tags"]) == (place.stat().st_size, ["2023", "Rügen & Co"])
    assert (said["taken_at"], said["camera"]) == ("2023-07-01T12:30:00", "NIKON D90")
    assert (said["lat"], said["lon"]) == (-54.5, 13.25)
    assert said["caption"] == 'He said "\u2028<script>"'
    assert said["columns"] == {"kind": "beach", "kind_probability": 0.75, "none": None}
    assert (said["score"], said["relevance"], said["by_caption"]) == (None, None, False)
    searched = client.post(
        f"{API}/search", json={"terms": [{"text": "blue"}], "where": "kind = 'x' or width = 40"}
    )
    assert searched.status_code == 422  # columns have their prefix
    searched = client.post(f"{API}/search", json={"where": "columns.kind = 'beach' and camera = 'NIKON D90'"})
    assert searched.json()["pictures"] == [said]


@pytest.mark.skipif(os.fsencode("\udce9") != b"\xe9", reason="file names are no bytes here")
def test_names_that_are_no_text_come_as_text(serve: Serve, tmp_path: Path, colours: Any) -> None:
    folder = tmp_path / "photos"
    odd = [
        os.fsdecode(b"caf\xe9"),
        "a\"quo'te\\",
        "two\r\nlines; x=y",
        "日本 é😀",
        "%2e%2e%2f",
        " blank ",
        "\x1b[31m",
    ]
    for number, name in enumerate(odd):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (10 + number, 10), (9 * number, 0, 0)).save(folder / name / f"{name}.png")
    by_width = {10 + at: (folder / name / f"{name}.png").read_bytes() for at, name in enumerate(odd)}
    client, _ = served(serve, tmp_path, colours, folder)
    answer = client.post(f"{API}/search", json={"k": 20})
    assert answer.content.decode("utf-8")
    pictures = answer.json()["pictures"]
    assert {one["name"] for one in pictures} == {"caf\\xe9.png", *(f"{name}.png" for name in odd[1:])}
    for one in pictures:
        assert client.get(f"{API}/pictures/{one['id']}").json() == one
        original = client.get(f"{API}/pictures/{one['id']}/original")
        assert original.content == by_width[one["width"]]
        header = original.headers["content-disposition"]
        start, _, name = header.partition("filename*=UTF-8''")
        assert (start, header.isascii(), header.isprintable()) == ("attachment; ", True, True)
        assert not set(name) & set("\r\n\"';\\ ")
        assert unquote_to_bytes(name).decode() == one["name"]
    key = client.get(f"{API}/collections").json()["collections"][0]["key"]
    facets = client.get(f"{API}/collections/{key}/facets").json()
    assert {"日本 é😀", "two\r\nlines; x=y"} <= {one["value"] for one in facets["fields"]["tags"]}


def test_unknown_and_malformed_identifiers_are_told(client: Any) -> None:
    for part in ("", "/thumbnail", "/original", "/similar"):
        assert NOBODY in problem(client.get(f"{API}/pictures/{NOBODY}{part}"), "not-found", 404)
        for id in ("nothing", "..%2F..%2Fetc%2Fpasswd", NOBODY + "0", "%00", "1"):
            answer = client.get(f"{API}/pictures/{id}{part}")
            assert answer.status_code in (404, 422)
            problem(answer, {404: "not-found", 422: "unprocessable"}[answer.status_code], answer.status_code)
    assert problem(client.get(f"{API}/nothing"), "not-found", 404) == f"Nothing is at {API}/nothing."


def test_a_picture_whose_files_are_gone_is_gone(client: Any, album: Path) -> None:
    id = ids_by_name(client)["red"]
    (album / "red.png").unlink()
    for part in ("", "/thumbnail", "/original"):
        assert "since it was indexed" in problem(
            client.get(f"{API}/pictures/{id}{part}"), "gone", 410
        ).replace("they were", "it was")
    explained = client.post(f"{API}/explain", json={"id": id, "terms": [{"text": "red"}]})
    problem(explained, "gone", 410)


# Bytes


@pytest.mark.parametrize("turn", [1, 6, 8])
def test_thumbnails_are_small_upright_and_never_enlarged(
    serve: Serve, tmp_path: Path, colours: Any, turn: int
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = turn
    picture = Image.new("RGB", (900, 300), "green")
    picture.paste("red", (0, 0, 450, 300))  # the left half
    picture.save(folder / "large.jpg", exif=exif)
    client, _ = served(serve, tmp_path, colours, folder)
    url = f"{API}/pictures/{ids_by_name(client)['large']}/thumbnail"
    for side in SIDES:
        answer = client.get(url, params={"side": side})
        image = seen(answer)
        long, short = min(side, 900), round(min(side, 900) / 3)
        assert image.size == ((long, short) if turn == 1 else (short, long))
        assert (image.format, answer.headers["content-type"]) == ("JPEG", "image/jpeg")
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        left, top, right, bottom = 0, 0, image.width, image.height
        red = {
            1: (left, top, right // 2 - 9, bottom),
            6: (left, top, right, bottom // 2 - 9),
            8: (left, bottom // 2 + 9, right, bottom),
        }
        assert colour(image.crop(red[turn])) == pytest.approx([255, 0, 0], abs=9)
    assert client.get(url).content == client.get(url, params={"side": 320}).content
    for side in ("0", "161", "99999", "-160", "160.0", "x", "", "٣٢٠"):
        problem(client.get(url, params={"side": side}), "unprocessable", 422)


def test_a_thumbnail_is_made_once(client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[int] = []
    real = thumbnails.thumbnail

    def counted(file: Any, side: int) -> bytes:
        made.append(side)
        return real(file, side)

    monkeypatch.setattr(thumbnails, "thumbnail", counted)
    by_name = ids_by_name(client)
    url = f"{API}/pictures/{by_name['red']}/thumbnail"
    first = client.get(url)
    assert client.get(url).content == first.content
    assert made == [320]
    assert client.get(url, params={"side": 160}).status_code == 200
    assert client.get(f"{API}/pictures/{by_name['blue']}/thumbnail").status_code == 200
    assert made == [320, 160, 320]
    folder = tmp_path / "cache/thumbnails"
    assert len(list(folder.glob("??/*.jpg"))) == 3
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700  # other people's accounts may not look
    shutil.rmtree(folder)
    assert client.get(url).content == first.content


def test_two_who_ask_for_one_thumbnail_both_get_it(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    both, real = threading.Barrier(2), thumbnails.thumbnail

    def together(file: Any, side: int) -> bytes:
        data = real(file, side)
        both.wait(timeout=60)
        return data

    monkeypatch.setattr(thumbnails, "thumbnail", together)
    url = f"{API}/pictures/{ids_by_name(client)['red']}/thumbnail"
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(client.get, [url, url])
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.content == second.content == client.get(url).content


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(client: Any, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    url = f"{API}/pictures/{ids_by_name(client)['red']}/thumbnail"
    assert seen(client.get(url)).size == (20, 10)


def test_the_original_comes_as_it_was_indexed(client: Any, album: Path) -> None:
    answer = client.get(f"{API}/pictures/{ids_by_name(client)['red']}/original")
    assert answer.content == (album / "red.png").read_bytes()
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''red.png"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_copy_stands_in_for_a_file_that_is_gone(
    serve: Serve, tmp_path: Path, colours: Any, album: Path
) -> None:
    shutil.copy(album / "red.png", album / "also.png")
    client, _ = served(serve, tmp_path, colours, album)
    id = ids_by_name(client)["also"]
    data = (album / "also.png").read_bytes()
    (album / "also.png").write_bytes(b"something else")
    answer = client.get(f"{API}/pictures/{id}/original")
    assert (answer.content, answer.headers["content-disposition"]) == (
        data,
        "attachment; filename*=UTF-8''red.png",
    )


# Pictures that are sent


def test_a_picture_that_was_sent_is_kept_for_a_while(client: Any, album: Path, tmp_path: Path) -> None:
    data = (album / "below/white.png").read_bytes()
    before = len(ids_by_name(client))
    for media_type in ("image/png", "application/octet-stream", "image/jpeg"):
        answer = client.post(f"{API}/uploads", content=data, headers={"content-type": media_type})
        assert answer.status_code == 201
    said = answer.json()
    assert (said["width"], said["height"], said["format"], said["expires_in_s"]) == (24, 10, "PNG", 3600)
    shown = client.get(f"{API}/uploads/{said['id']}/thumbnail", params={"side": 160})
    assert seen(shown).size == (24, 10)
    assert shown.headers["cache-control"] == "private, max-age=3600"
    assert len(ids_by_name(client)) == before
    assert not (tmp_path / "cache/thumbnails").exists()
    for id in ("nothing", "x" * 64):
        problem(client.get(f"{API}/uploads/{id}/thumbnail"), "not-found", 404)
    for id in ("x" * 65, "a%20b", "..%5C"):
        problem(client.get(f"{API}/uploads/{id}/thumbnail"), "unprocessable", 422)


# Labels


def test_labels_are_those_of_the_classifier(client: Any, colour_index: ImageIndex) -> None:
    by_name = ids_by_name(client)
    ask = {"labels": ["red", " green ", "blue"], "ids": [*by_name.values(), by_name["red"], NOBODY]}
    answer = client.post(f"{API}/classify", json=ask)
    assert answer.status_code == 200
    verdicts = answer.json()["verdicts"]
    assert [one["id"] for one in verdicts] == [*by_name.values()]
    labelling = Labelling(labels=["red", "green", "blue"], templates=load_templates("simple"))
    classifier, rule = labelling.build(colour_index.encode_texts, CLIP_SCALE)
    vectors = colour_index.store.vectors([*by_name.values()])
    twins = classify_vectors(
        classifier,
        np.stack([vectors[id] for id in by_name.values()]),
        [(Path("x"), id) for id in by_name.values()],
        rule,
    )
    for verdict, twin in zip(verdicts, twins, strict=True):
        assert (verdict["label"], verdict["fits"]) == (twin.label, None)
        assert verdict["probability"] == pytest.approx(twin.probability)
        assert verdict["probabilities"] == pytest.approx(twin.probabilities)
    labels = {one["id"]: one["label"] for one in verdicts}
    assert [labels[by_name[name]] for name in ("red", "green", "blue")] == ["red", "green", "blue"]


def test_none_of_these_is_an_answer(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    background = ["a red one", "a green one", "a blue one", "a yellow one", "a white one"] * 8
    monkeypatch.setattr("vision.retrieval.classify.background_labels", lambda: background)
    ask = {"labels": ["red", "green"], "ids": [*ids_by_name(client).values()], "none": True}
    verdicts = client.post(f"{API}/classify", json=ask).json()["verdicts"]
    assert all(0 <= one["fits"] <= 1 for one in verdicts)
    assert all((one["label"] is None) == (one["fits"] < 0.5) for one in verdicts)
    assert any(one["label"] is None for one in verdicts)


def test_the_same_labels_are_encoded_once(
    client: Any, colour_index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    encode = colour_index.encode_texts

    def counted(sentences: Any) -> Any:
        asked.append(len(sentences))
        return encode(sentences)

    monkeypatch.setattr(colour_index, "encode_texts", counted)
    ids = [*ids_by_name(client).values()]
    ask = {"labels": ["red", "green"], "ids": ids[:2]}
    first = client.post(f"{API}/classify", json=ask).json()["verdicts"]
    assert asked == [14]
    both = client.post(f"{API}/classify", json={**ask, "ids": ids}).json()["verdicts"]
    assert (both[:2], asked) == (first, [14])
    for other in (
        {"labels": ["green", "red"]},
        {"templates": "imagenet"},
        {"none": False, "labels": ["red", "blue"]},
    ):
        assert client.post(f"{API}/classify", json={**ask, **other}).status_code == 200
    assert len(asked) == 4


def test_labels_that_cannot_work_are_told(client: Any) -> None:
    ids = [*ids_by_name(client).values()]
    problem_of = [
        ({"labels": ["red", "red"]}, "all different"),
        ({"labels": ["red", " red"]}, "all different"),
        ({"labels": ["red"]}, "at least 2"),
        ({"labels": ["red", ""]}, "at least 1"),
        ({"ids": []}, "at least 1"),
        ({"templates": "/etc/passwd"}, "'simple' or 'imagenet'"),
        ({"none": "yes"}, "boolean"),
    ]
    for wrong, words in problem_of:
        ask = {"labels": ["red", "blue"], "ids": ids, **wrong}
        assert words in problem(client.post(f"{API}/classify", json=ask), "unprocessable", 422)
    assert client.post(f"{API}/classify", json={"labels": ["red", "blue"], "ids": [NOBODY]}).json() == {
        "verdicts": []
    }


# Why


class Map:
    """An explanation as `vision.explain` gives it."""

    map_RC = np.array([[0, 0.25], [0.123456, 1]], dtype=np.float32)
    box, score, method = (0.0, -0.1, 1.0, 1.1), 0.3, "some"

    def overlay(self, picture_HWC: np.ndarray) -> Image.Image:
        return Image.fromarray(255 - picture_HWC)


@pytest.fixture
def explained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, Query, str | None]]:
    asked: list[tuple[bytes, Query, str | None]] = []

    def explain(index: ImageIndex, picture: PhotoFile, query: Query, *, method: str | None = None) -> Map:
        asked.append((picture.data, query, method))
        if method not in (None, "some", "other"):
            raise ParameterError("method", must_be="one of some, other", got=repr(method))
        return Map()

    monkeypatch.setattr(ImageIndex, "explain", explain)
    monkeypatch.setattr(ImageIndex, "explain_methods", lambda index: ["some", "other"])
    return asked


def test_why_a_picture_came_up(client: Any, album: Path, explained: list[Any]) -> None:
    by_name = ids_by_name(client)
    terms = [{"text": "red"}, {"id": by_name["blue"], "weight": -0.5}]
    answer = client.post(f"{API}/explain", json={"id": by_name["red"], "terms": terms, "method": "other"})
    assert answer.json() == {
        "map": [[0, 0.25], [0.1235, 1]],
        "box": [0, -0.1, 1, 1.1],
        "score": 0.3,
        "method": "some",
        "methods": ["some", "other"],
    }
    ((data, query, method),) = explained
    assert (data, method) == ((album / "red.png").read_bytes(), "other")
    assert [term.weight for term in query.terms] == [1, -0.5]
    assert query.terms[0].content == "red"
    unknown = client.post(f"{API}/explain", json={"id": by_name["red"], "terms": terms, "method": "magic"})
    assert problem(unknown, "unprocessable", 422) == "method must be one of some, other, got 'magic'."


def test_an_explanation_is_drawn_where_a_picture_is_wanted(
    client: Any, explained: list[Any], album: Path
) -> None:
    data = (album / "red.png").read_bytes()
    sent = client.post(f"{API}/uploads", content=data, headers={"content-type": "image/png"}).json()
    ask = {"upload": sent["id"], "terms": [{"text": "red"}]}
    answer = client.post(f"{API}/explain", json=ask, headers={"accept": "image/png"})
    assert answer.headers["content-type"] == "image/png"
    image = seen(answer)
    assert (image.format, image.size) == ("PNG", (20, 10))
    assert colour(image) == pytest.approx([0, 255, 255])
    assert explained[0][0] == data
    for accept in ("*/*", "application/json"):
        answer = client.post(f"{API}/explain", json=ask, headers={"accept": accept})
        assert answer.headers["content-type"] == "application/json"


def test_what_cannot_be_explained_is_told(client: Any, explained: list[Any]) -> None:
    id = ids_by_name(client)["red"]
    terms = [{"text": "red"}]
    for wrong in (
        {"terms": terms},
        {"id": id, "upload": "x", "terms": terms},
        {"id": id, "terms": []},
        {"id": id},
    ):
        problem(client.post(f"{API}/explain", json=wrong), "unprocessable", 422)
    for unknown in ({"id": NOBODY}, {"upload": "nothing"}):
        problem(client.post(f"{API}/explain", json={**unknown, "terms": terms}), "not-found", 404)
    assert not explained


def test_a_model_whose_features_have_no_places_cannot_be_explained(client: Any) -> None:
    ask = {"id": ids_by_name(client)["red"], "terms": [{"text": "red"}]}
    assert "fake:colours" in problem(client.post(f"{API}/explain", json=ask), "unprocessable", 422)


def test_a_model_that_is_no_longer_the_same_is_not_at_hand(
    client: Any, colour_index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(index: ImageIndex) -> None:
        raise FingerprintMismatchError("model", must_be="that of the index", got="another")

    monkeypatch.setattr(ImageIndex, "backbone", property(changed))
    answer = client.post(f"{API}/uploads", content=b"x", headers={"content-type": "image/png"})
    assert "must be that of the index" in problem(answer, "unavailable", 503)


# The whole


def test_what_is_served_is_told(client: Any, colour_index: ImageIndex, album: Path) -> None:
    (said,) = client.get(f"{API}/collections").json()["collections"]
    assert client.get(f"{API}/collections/{said['key']}").json() == said
    assert (said["name"], said["model"], said["dim"]) == ("store", "fake:colours", 3)
    assert (said["decode"], said["precision"], said["has_text"]) == ("exact", "fp32", True)
    assert (said["pictures"], said["captions"], said["columns"]) == (5, False, [])
    assert (said["roots"], said["graph_rows"], said["recall"]) == ([str(album)], 0, None)
    assert said["disk_bytes"] > 0
    assert said["fingerprint"] == colour_index.model.fingerprint
    for part in ("", "/facets"):
        problem(client.get(f"{API}/collections/{'0' * 16}{part}"), "not-found", 404)
        problem(client.get(f"{API}/collections/..%2e{part}"), "unprocessable", 422)


def test_the_values_to_filter_by_are_counted(client: Any, colour_index: ImageIndex) -> None:
    by_name = ids_by_name(client)
    colour_index.set_columns(
        [(by_name[name], {"kind": "warm", "no": 3}) for name in ("red", "yellow")]
        + [(by_name["blue"], {"kind": "cold"})]
    )
    key = colour_index.model.key
    assert client.get(f"{API}/collections/{key}/facets").json() == {
        "pictures": 5,
        "fields": {
            "format": [{"value": "PNG", "count": 5}],
            "tags": [{"value": "below", "count": 2}],
            "columns.kind": [{"value": "warm", "count": 2}, {"value": "cold", "count": 1}],
        },
    }
    for field, condition in {"format": "format", "tags": "tags", "columns.kind": "columns.kind"}.items():
        for one in client.get(f"{API}/collections/{key}/facets").json()["fields"][field]:
            operator = "contains" if field == "tags" else "="
            ask = {"where": f"{condition} {operator} '{one['value']}'"}
            assert client.post(f"{API}/search", json=ask).json()["fits"] == one["count"]


def test_searches_do_not_wait_for_counting(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counting, gate = hold(monkeypatch, ImageIndex, "facets")
    key = client.get(f"{API}/collections").json()["collections"][0]["key"]
    with ThreadPoolExecutor(1) as threads:
        facets = threads.submit(client.get, f"{API}/collections/{key}/facets")
        try:
            assert counting.wait(60)
            assert len(ids_by_name(client)) == 5
            assert client.post(f"{API}/search", json={"terms": [{"text": "red"}]}).status_code == 200
        finally:
            gate.set()
        assert facets.result().json()["pictures"] == 5
