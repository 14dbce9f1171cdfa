"""Walking folders and decoding pictures, hostile ones included."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import sys
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from data import photos
from data.errors import BadFileError
from data.photo_walk import folder_of, walk_photos
from data.photos import MAX_FILE_BYTES, PhotoFile, decode_photo, load_photo, photo_file, read_photo


def gradient(width: int, height: int) -> Image.Image:
    """A picture that differs from each of its turned and mirrored forms."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, (x * y) / 255], axis=-1).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def as_file(data: bytes, name: str = "x.jpg") -> PhotoFile:
    return PhotoFile(path=Path(name), size=len(data), mtime_ns=0, content="", data=data)


def decoded_array(data: bytes) -> np.ndarray:
    return np.asarray(decode_photo(as_file(data)).image)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


# Walking


def test_walk_is_sorted_recursive_and_knows_extensions_in_any_case(tmp_path: Path) -> None:
    names = ["b.JPG", "a/z.png", "a/y.txt", "a.jpeg", "c/d/e.WebP", "Ünï/Ж 日本.tif", "two\nlines.gif"]
    touch(*(tmp_path / name for name in names))
    found = [str(path.relative_to(tmp_path)) for path in walk_photos([tmp_path])]
    assert found == ["a/z.png", "a.jpeg", "b.JPG", "c/d/e.WebP", "two\nlines.gif", "Ünï/Ж 日本.tif"]


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses such names")
def test_walk_yields_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    Path(os.fsdecode(name)).write_bytes(encoded(gradient(8, 8), "JPEG"))
    (path,) = walk_photos([tmp_path])
    assert os.fsencode(path) == name
    assert load_photo(path).image.size == (8, 8)


def test_walk_passes_over_hidden_names_but_takes_a_hidden_root(tmp_path: Path) -> None:
    touch(tmp_path / ".root/a.jpg", tmp_path / ".root/._a.jpg", tmp_path / ".root/.cache/b.jpg")
    assert list(walk_photos([tmp_path / ".root"])) == [tmp_path / ".root/a.jpg"]
    assert list(walk_photos([tmp_path])) == []


def test_symlink_loops_end_and_real_folders_come_before_links(tmp_path: Path) -> None:
    touch(tmp_path / "real/a.jpg", tmp_path / "other.jpg")
    (tmp_path / "real/up").symlink_to(tmp_path)
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    (tmp_path / "itself.jpg").symlink_to("itself.jpg")
    (tmp_path / "broken.jpg").symlink_to("nowhere.jpg")
    troubles: list[str] = []
    found = list(walk_photos([tmp_path], on_error=lambda path, reason: troubles.append(path.name)))
    assert found == [tmp_path / "other.jpg", tmp_path / "real/a.jpg"]
    assert set(troubles) <= {"itself.jpg"}


def test_a_linked_folder_elsewhere_is_walked(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere/a.jpg")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to(tmp_path / "elsewhere")
    assert list(walk_photos([tmp_path / "root"])) == [tmp_path / "root/link/a.jpg"]


def test_overlapping_roots_give_each_file_once(tmp_path: Path) -> None:
    touch(tmp_path / "a/b/c.jpg")
    assert list(walk_photos([tmp_path / "a/b", tmp_path])) == [tmp_path / "a/b/c.jpg"]


def test_patterns_count_from_each_root(tmp_path: Path) -> None:
    touch(tmp_path / "a/raw/1.jpg", tmp_path / "a/2.jpg", tmp_path / "b/raw/3.png", tmp_path / "b/4.jpg")
    roots = [tmp_path / "a", tmp_path / "b"]
    names = [path.name for path in walk_photos(roots, exclude=["raw/"])]
    assert names == ["2.jpg", "4.jpg"]
    assert [path.name for path in walk_photos(roots, include=["raw/*"])] == ["1.jpg", "3.png"]
    assert [path.name for path in walk_photos(roots, include=["*.jpg"], exclude=["/raw"])] == [
        "2.jpg",
        "4.jpg",
    ]
    assert [path.name for path in walk_photos([tmp_path / "a/raw"], exclude=["raw"])] == ["1.jpg"]


def test_an_excluded_folder_is_not_even_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "secret/1.jpg", tmp_path / "2.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    listed: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr("os.scandir", lambda path: (listed.append(Path(path).name), scandir(path))[1])
    found = list(walk_photos([tmp_path], exclude=["secret", "link"]))
    assert (found, listed) == ([tmp_path / "2.jpg"], [tmp_path.name])


def test_the_innermost_root_is_the_one(tmp_path: Path) -> None:
    path = tmp_path / "a/b/c.jpg"
    assert folder_of(path, [tmp_path, tmp_path / "a", tmp_path / "ab"]) == tmp_path / "a"
    assert folder_of(path, [tmp_path / "b"]) is None


@pytest.mark.skipif(sys.platform == "darwin", reason="paths end at 1,024 characters there")
def test_a_very_deep_tree_is_walked(tmp_path: Path) -> None:
    here, levels = os.open(tmp_path, os.O_RDONLY), (3900 - len(str(tmp_path))) // 2
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(os.open("deep.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    assert levels > sys.getrecursionlimit()
    (found,) = walk_photos([tmp_path])
    assert found.name == "deep.jpg"
    found.unlink()  # taken down here, as shutil.rmtree recurses
    for folder in list(found.parents)[:levels]:
        folder.rmdir()


def test_walk_streams(tmp_path: Path) -> None:
    touch(tmp_path / "a/1.jpg", tmp_path / "b/2.jpg")
    walk = walk_photos([tmp_path])
    assert next(walk).name == "1.jpg"
    (tmp_path / "b/2.jpg").rename(tmp_path / "b/3.jpg")
    assert next(walk).name == "3.jpg"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_folder_is_reported_and_passed_over(tmp_path: Path) -> None:
    touch(tmp_path / "a/1.jpg", tmp_path / "b/2.jpg")
    (tmp_path / "a").chmod(0)
    troubles: list[tuple[Path, str]] = []
    found = list(walk_photos([tmp_path], on_error=lambda *trouble: troubles.append(trouble)))
    (tmp_path / "a").chmod(0o755)
    assert found == [tmp_path / "b/2.jpg"]
    assert troubles == [(tmp_path / "a", "Permission denied")]


def test_a_folder_that_vanishes_during_the_walk_is_reported(tmp_path: Path) -> None:
    touch(tmp_path / "a/1.jpg", tmp_path / "b/2.jpg")
    troubles: list[tuple[Path, str]] = []
    walk = walk_photos([tmp_path], on_error=lambda *trouble: troubles.append(trouble))
    next(walk)
    (tmp_path / "b/2.jpg").unlink()
    (tmp_path / "b").rmdir()
    assert list(walk) == []
    assert troubles == [(tmp_path / "b", "No such file or directory")]


@pytest.mark.parametrize(("name", "found"), [("file.jpg", "a file"), ("missing", "nothing there")])
def test_a_root_must_be_a_folder(tmp_path: Path, name: str, found: str) -> None:
    touch(tmp_path / "file.jpg")
    with pytest.raises(BadFileError, match=f"photo folder must be a folder, got {found}"):
        walk_photos([tmp_path / name])


# Reading


def test_content_names_the_bytes(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "b.jpg")
    first, second = read_photo(tmp_path / "a.jpg"), read_photo(tmp_path / "b.jpg")
    assert first.content == second.content == hashlib.blake2b(b"x", digest_size=32).hexdigest()
    assert (first.size, first.mtime_ns) == (1, (tmp_path / "a.jpg").stat().st_mtime_ns)


def refused(path: Path) -> str:
    with pytest.raises(BadFileError) as refusal:
        load_photo(path)
    assert str(path) in str(refusal.value)
    return str(refusal.value.got)


def test_unreadable_files_are_refused_with_their_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert refused(tmp_path / "empty.jpg") == "an empty file (0 bytes)"
    assert refused(tmp_path / "pipe.jpg") == "no regular file"
    assert refused(tmp_path / "folder.jpg") in ("no regular file", "Is a directory")
    assert refused(tmp_path / "missing.jpg") == "No such file or directory"
    assert refused(tmp_path / "huge.jpg").startswith("1,073,741,825 bytes, above the limit")


# Decoding


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_exif_orientation_is_undone(orientation: int, kind: str) -> None:
    upright = gradient(48, 32)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright.copy()  # turned the other way, as a camera that was held so stores it
    stored.getexif()[0x0112] = {6: 8, 8: 6}.get(orientation, orientation)
    stored = ImageOps.exif_transpose(stored)
    options = {"lossless": True} if kind == "WEBP" else {}
    photo = decode_photo(as_file(encoded(stored, kind, exif=exif, **options)))
    assert photo.image.size == (photo.width, photo.height) == (48, 32)
    difference = np.abs(np.asarray(photo.image, int) - np.asarray(upright, int))
    assert difference.mean() < (3 if kind == "JPEG" else 0.01)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_damaged_exif_leaves_the_picture() -> None:
    data = encoded(gradient(8, 8), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff broken")
    assert decode_photo(as_file(data)).image.size == (8, 8)


def test_alpha_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert (decoded_array(encoded(clear, "PNG")) == 255).all()
    assert np.abs(decoded_array(encoded(half, "PNG")).astype(int) - 127).max() <= 1
    assert (decoded_array(encoded(clear.convert("LA"), "PNG")) == 255).all()


def test_a_palette_with_a_transparent_colour_shows_white_there() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 1)
    array = decoded_array(encoded(image, "PNG", transparency=0))
    assert array[0, 0].tolist() == [0, 0, 255]
    assert array[1, 1].tolist() == [255, 255, 255]
    assert decoded_array(encoded(image, "PNG"))[1, 1].tolist() == [255, 0, 0]


def test_cmyk_one_bit_and_grey_become_rgb() -> None:
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = decoded_array(encoded(cmyk, "JPEG")).mean(axis=(0, 1))
    assert red[0] > 240
    assert red[1:].max() < 15
    assert (decoded_array(encoded(Image.new("1", (4, 4), 1), "PNG")) == 255).all()
    assert (decoded_array(encoded(Image.new("L", (4, 4), 77), "BMP")) == 77).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_high_byte(kind: str) -> None:
    values = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    array = decoded_array(encoded(Image.fromarray(values), kind))
    assert array.shape == (16, 16, 3)
    assert (array[..., 0] == np.arange(256).reshape(16, 16)).all()


def test_float_and_32_bit_grey_are_stretched() -> None:
    values = np.array([[-1.5, 0.0], [np.nan, 1.5]], dtype=np.float32)
    assert decoded_array(encoded(Image.fromarray(values), "TIFF"))[..., 0].tolist() == [[0, 127], [127, 255]]
    counts = np.array([[0, 100_000]], dtype=np.int32)
    assert decoded_array(encoded(Image.fromarray(counts), "TIFF"))[..., 0].tolist() == [[0, 255]]
    flat = np.full((2, 2), 7, dtype=np.int32)
    assert (decoded_array(encoded(Image.fromarray(flat), "TIFF")) == 0).all()


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        red, _, blue = decoded_array(data).mean(axis=(0, 1))
        assert red > 200 > 50 > blue, kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF"])
def test_every_format_is_told_by_its_bytes_not_its_name(kind: str) -> None:
    photo = decode_photo(as_file(encoded(gradient(32, 16), kind), name="liar.heic"))
    assert (photo.format, photo.image.mode, photo.image.size) == (kind, "RGB", (32, 16))


def test_scaled_decode_keeps_enough_pixels_and_the_true_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(gradient(1600, 1200), "JPEG", quality=95, exif=exif)
    photo = decode_photo(as_file(data), jpeg_at_least=200)
    assert photo.image.size == (300, 400)  # 1/4; an eighth would leave 150, under 200
    assert (photo.width, photo.height) == (1200, 1600)
    whole = decode_photo(as_file(data)).image.resize((300, 400), Image.Resampling.BOX)
    assert np.abs(np.asarray(photo.image, int) - np.asarray(whole, int)).mean() < 1.5
    assert decode_photo(as_file(data), jpeg_at_least=1400).image.size == (1200, 1600)
    png = decode_photo(as_file(encoded(gradient(640, 480), "PNG")), jpeg_at_least=20)
    assert png.image.size == (640, 480)


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))


def reason(data: bytes) -> str:
    with pytest.raises(BadFileError) as refusal:
        decode_photo(as_file(data))
    return str(refusal.value.got)


def test_bombs_are_refused_before_they_go_off() -> None:
    assert reason(png_that_claims(60_000, 60_000)).startswith("more pixels than is safe to decode")
    assert reason(encoded(Image.new("L", (1, 6000)), "PNG")) == "a strip of 1 x 6000 pixels"
    progressive = encoded(gradient(16, 16), "JPEG", progressive=True)
    end = progressive.rindex(b"\xff\xda")
    assert reason(progressive[:end] + progressive[end:-2] * 200).startswith("a progressive JPEG of 2")


def test_a_header_that_promises_more_than_follows_is_refused() -> None:
    assert reason(png_that_claims(500, 500)).startswith("a damaged picture")


def test_other_files_under_a_picture_name_are_refused() -> None:
    assert reason(b"Dear diary,\n" * 50) == "no picture in a format that is read here"
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    assert reason(postscript) == "no picture in a format that is read here"


def test_a_hollow_heic_is_refused() -> None:
    heic = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + b"\x00" * 64
    assert reason(heic)


# The quick way for JPEGs, against Pillow's


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 20}])
def test_jpegs_decode_to_the_bit_as_pillow_decodes_them(mode: str, options: dict[str, Any]) -> None:
    data = encoded(gradient(133, 77).convert(mode), "JPEG", **options)
    assert np.array_equal(decoded_array(data), np.asarray(Image.open(BytesIO(data)).convert("RGB")))


@pytest.fixture
def pillow_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each picture that Pillow decodes."""
    reads: list[int] = []
    original = photos._pillow_pixels
    monkeypatch.setattr(photos, "_pillow_pixels", lambda *given: (reads.append(1), original(*given))[1])
    return reads


def test_pillow_reads_what_the_quick_way_cannot(pillow_reads: list[int]) -> None:
    decoded_array(encoded(gradient(64, 48), "JPEG"))
    assert not pillow_reads
    decoded_array(encoded(gradient(64, 48).convert("CMYK"), "JPEG"))
    decoded_array(encoded(gradient(64, 48), "PNG"))
    assert len(pillow_reads) == 2


def test_no_byte_of_a_jpeg_may_be_missing(pillow_reads: list[int]) -> None:
    data = encoded(gradient(300, 200), "JPEG")
    for cut in (0.3, 0.6, 0.9, 0.99):
        assert "damaged" in reason(data[: int(cut * len(data))])
    assert len(pillow_reads) == 4


def test_what_follows_a_jpeg_is_passed_over() -> None:
    data = encoded(gradient(64, 48), "JPEG")
    assert np.array_equal(decoded_array(data + b"\0" * 999 + b"PK trailing"), decoded_array(data))


def test_a_jpeg_with_a_second_larger_header_meets_the_same_checks() -> None:
    small, large = encoded(gradient(16, 16), "JPEG"), encoded(Image.new("RGB", (16, 6000)), "JPEG")
    frame = large.index(b"\xff\xc0")
    lying = small[:2] + large[frame : frame + 19] + small[2:]
    with contextlib.suppress(BadFileError):
        photo = decode_photo(as_file(lying))
        assert photo.image.size == (photo.width, photo.height) == (16, 16)


@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((4000, 3000), (1000, 750)),
        ((1600, 1280), (600, 480)),  # three eighths
        ((2000, 1600), (750, 600)),
        ((3584, 5376), (448, 672)),
        ((3583, 5376), (3583, 5376)),  # no scale divides it
        ((4000, 3002), (2000, 1501)),  # only a half does
        ((895, 896), (895, 896)),
        ((30, 3000), (30, 3000)),
    ],
)
def test_a_jpeg_is_scaled_evenly_or_not_at_all(size: tuple[int, int], decoded: tuple[int, int]) -> None:
    data = encoded(Image.new("RGB", size, "teal"), "JPEG")
    photo = decode_photo(as_file(data), jpeg_at_least=448)
    assert photo.image.size == decoded
    assert (photo.width, photo.height) == size


def test_facts_of_the_camera_come_with_the_pixels() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", "One"
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "HEIF"):
        assert decode_photo(as_file(encoded(gradient(64, 48), kind, exif=exif))).facts.camera == "Maker One"


def test_16_bit_colour_and_palettes_in_cmyk_files_become_8_bit_rgb() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = b"\0" + struct.pack(">6H", 65535, 0, 257 * 7, 257 * 9, 65535, 0)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    assert decoded_array(b"\x89PNG\r\n\x1a\n" + body).tolist() == [[[255, 0, 7], [9, 255, 0]]]


def test_the_same_bytes_without_a_file() -> None:
    data = encoded(gradient(8, 8), "PNG")
    file = photo_file(Path("pasted"), data)
    assert file.content == hashlib.blake2b(data, digest_size=32).hexdigest()
    assert decode_photo(file).image.size == (8, 8)
    with pytest.raises(BadFileError, match=r"pasted.*an empty file"):
        photo_file(Path("pasted"), b"")


WHOLE = {
    kind: encoded(gradient(40, 30), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_a_file_cut_in_half_is_refused(kind: str) -> None:
    data = encoded(gradient(300, 200), kind)
    assert "damaged" in reason(data[: len(data) // 2])


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of damaged metadata and reads on
@given(kind=st.sampled_from(sorted(WHOLE)), cut=st.floats(0, 1), data=st.data())
@settings(max_examples=300, deadline=None)
def test_damage_of_any_kind_gives_a_picture_or_a_refusal(kind: str, cut: float, data: st.DataObject) -> None:
    damaged = bytearray(WHOLE[kind][: 1 + int(cut * len(WHOLE[kind]))])
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadFileError):
        assert decode_photo(as_file(bytes(damaged))).image.mode == "RGB"
