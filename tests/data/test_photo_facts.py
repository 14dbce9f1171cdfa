"""Date, camera and place from EXIF, told truly or not at all."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from data.photo_facts import PhotoFacts, photo_facts

Base, GPS, IFD = ExifTags.Base, ExifTags.GPS, ExifTags.IFD
PARIS = {
    GPS.GPSLatitudeRef: "N",
    GPS.GPSLatitude: (48.0, 51.0, 30.24),
    GPS.GPSLongitudeRef: "E",
    GPS.GPSLongitude: (2.0, 17.0, 40.2),
}


def jpeg(exif: Image.Exif | bytes) -> Image.Image:
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", exif=exif)
    return Image.open(buffer)


def written(
    plain: dict[int, Any] | None = None,
    photo: dict[int, Any] | None = None,
    gps: dict[int, Any] | None = None,
) -> PhotoFacts:
    exif = Image.Exif()
    exif.update(plain or {})
    exif.get_ifd(IFD.Exif).update(photo or {})
    exif.get_ifd(IFD.GPSInfo).update(gps or {})
    return photo_facts(jpeg(exif))


def test_a_phone_s_picture_tells_everything() -> None:
    facts = written(
        {Base.Make: "Apple", Base.Model: "iPhone 12"},
        {Base.DateTimeOriginal: "2024:02:29 23:59:58", Base.OffsetTimeOriginal: "+02:00"},
        PARIS,
    )
    assert (facts.taken_at, facts.camera) == ("2024-02-29T23:59:58+02:00", "Apple iPhone 12")
    assert facts.gps == pytest.approx((48.8584, 2.2945), abs=1e-6)


def test_south_and_west_are_negative() -> None:
    south_west = PARIS | {GPS.GPSLatitudeRef: "S", GPS.GPSLongitudeRef: "W"}
    assert written(gps=south_west).gps == pytest.approx((-48.8584, -2.2945), abs=1e-6)


@pytest.mark.parametrize(
    ("date", "offset", "taken_at"),
    [
        ("2024:01:02 03:04:05", "", "2024-01-02T03:04:05"),
        ("2024-01-02 03:04:05", "Z", "2024-01-02T03:04:05+00:00"),
        ("2024:01:02 03:04:05.123", "-11:30", "2024-01-02T03:04:05-11:30"),
        ("2024:01:02 03:04:05", "+99:00", "2024-01-02T03:04:05"),
        ("0000:00:00 00:00:00", "", None),
        ("0001:01:01 00:00:00", "", None),
        ("9999:12:31 23:59:59", "", None),
        ("2023:02:29 00:00:00", "", None),
        ("    :  :     :  :  ", "", None),
        ("yesterday", "", None),
    ],
)
def test_dates_are_iso_or_none(date: str, offset: str, taken_at: str | None) -> None:
    assert written(photo={Base.DateTimeOriginal: date, Base.OffsetTimeOriginal: offset}).taken_at == taken_at


def test_the_time_of_scanning_stands_in_and_that_of_an_edit_does_not() -> None:
    assert written(photo={Base.DateTimeDigitized: "2001:01:01 00:00:00"}).taken_at == "2001-01-01T00:00:00"
    assert written({Base.DateTime: "2001:01:01 00:00:00"}).taken_at is None


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("  SONY \0junk", "ILCE-7M3\0", "SONY ILCE-7M3"),
        ("", "X100", "X100"),
        ("Leica\n\tCamera", "", "Leica Camera"),
        ("\0", " ", None),
        ("a" * 400, "", "a" * 100),
    ],
)
def test_cameras_are_tidied(make: str, model: str, camera: str | None) -> None:
    assert written({Base.Make: make, Base.Model: model}).camera == camera


@pytest.mark.parametrize(
    "wrong",
    [
        {GPS.GPSLatitude: (IFDRational(1, 0), 0.0, 0.0)},
        {GPS.GPSLatitude: (91.0, 0.0, 0.0)},
        {GPS.GPSLongitude: (180.0, 30.0, 0.0)},
        {GPS.GPSLatitude: (10.0, 61.0, 0.0)},
        {GPS.GPSLongitude: ()},
    ],
)
def test_places_that_are_none_are_left_out(wrong: dict[int, Any]) -> None:
    assert written(gps=PARIS | wrong).gps is None


def test_a_picture_without_exif_tells_nothing() -> None:
    assert photo_facts(Image.new("RGB", (2, 2))) == PhotoFacts()


def test_a_loop_of_directories_ends() -> None:
    loop = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", IFD.Exif, 4, 1, 8) + b"\x08\0\0\0"
    assert photo_facts(jpeg(loop)) == PhotoFacts()


WHOLE = Image.Exif()
WHOLE.update({Base.Make: "Maker", Base.Model: "Model"})
WHOLE.get_ifd(IFD.Exif).update({Base.DateTimeOriginal: "2024:01:02 03:04:05"})
WHOLE.get_ifd(IFD.GPSInfo).update(PARIS)
WHOLE_BYTES = WHOLE.tobytes()


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of damaged metadata and reads on
@given(st.lists(st.tuples(st.integers(6, len(WHOLE_BYTES) - 1), st.integers(0, 255)), max_size=12))
@settings(max_examples=300, deadline=None)
def test_damaged_exif_never_raises(damage: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE_BYTES)
    for place, value in damage:
        data[place] = value
    facts = photo_facts(jpeg(bytes(data)))
    assert facts.gps is None or (abs(facts.gps.lat) <= 90 and abs(facts.gps.lon) <= 180)
    assert facts.camera is None or facts.camera.isprintable()
