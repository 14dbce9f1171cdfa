"""Brainmarks' layout read into a cache: our own exports, files of others, and what is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data.caches.cache import Cache
from data.cleaning.as_given import AsGiven
from data.errors import BadFileError
from data.exchange.arrow_export import ArrowSpec, export_arrow
from data.exchange.arrow_import import Imported, import_arrow

PEOPLE, T, R = 24, 40, 5


def test_a_cache_comes_back(two_sites: Cache, tmp_path) -> None:
    folder = export_arrow(two_sites, ArrowSpec(space="mine"), tmp_path / "out")
    back = import_arrow(folder, tmp_path / "back")
    assert isinstance(back.recipe, AsGiven)
    assert two_sites.identity in back.recipe.given
    assert back.identity != two_sites.identity
    assert back.atlases == ("mine",)
    assert set(back.table["split"]) == {"train", "validation", "test"}
    twice = back.table[back.table["person"] == "p00"]["run_id"]
    assert sorted(twice) == ["sub-p00", "sub-p00_run-2"]
    before = two_sites.table.set_index(["person", "site"])
    for i, row in enumerate(back.table.itertuples()):
        old = before.loc[(row.person, row.site)]
        assert (row.label, row.sex, row.tr, row.n_frames) == (old["label"], old["sex"], old["tr"], T)
        first = two_sites.parcels(two_sites.table["run_id"].tolist().index(old["run_id"]), "mine")
        again = back.parcels(i, "mine")
        assert (again.digest, again.regions) == (first.digest, first.regions)
        np.testing.assert_allclose(again.z_FR, first.z_FR, atol=2e-3)
        np.testing.assert_allclose(again.std_R, first.std_R, rtol=1e-5)
        np.testing.assert_allclose(again.mean_R, first.mean_R, rtol=1e-6)
    named = import_arrow(folder, tmp_path / "again", Imported(given="the words of others"))
    assert named.identity == AsGiven(given="the words of others").identity


def test_a_file_of_others_is_read(tmp_path) -> None:
    """As `datasets` writes it: several rows a batch, other columns, classes as numbers, no word of Chiasm."""
    rng = np.random.default_rng(0)
    bold = rng.normal(size=(4, 20, 3)).astype(np.float16)
    pairs = pa.list_(pa.list_(pa.float16()))
    halves = [[list(line) for line in run] for run in bold]
    table = pa.table(
        {
            "sub": ["1001", "1002", "1002", "1003"],
            "visit": ["2020", "a/b", "a/b", "2021"],
            "dx": [0, 1, 1, 3],
            "age": [60.5, 70, 70, 50],
            "bold": pa.array(halves, pairs),
            "mean": pa.array([[[1.0, 2.0, 3.0]]] * 4, pa.list_(pa.list_(pa.float32()))),
            "std": pa.array([[[1.0, 1.0, 0.5]]] * 4, pa.list_(pa.list_(pa.float32()))),
            "tr": pa.array([2.5] * 4, pa.float32()),
        }
    )
    folder = tmp_path / "adni.schaefer3.arrow"
    (folder / "test").mkdir(parents=True)
    with (
        pa.OSFile(str(folder / "test" / "data-0.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as out,
    ):
        out.write_table(table, max_chunksize=3)
    cache = import_arrow(folder, tmp_path / "cache", Imported(positive="1", negative="0"))
    assert cache.table["run_id"].tolist() == [
        "sub-1001_ses-2020",
        "sub-1002_ses-a-b",
        "sub-1002_ses-a-b_run-2",
    ]
    assert cache.table["label"].tolist() == [0, 1, 1]
    assert cache.table["site"].tolist() == ["adni"] * 3
    assert cache.table["age"].tolist() == [60.5, 70, 70]
    assert cache.excluded == [("sub-1003_ses-2021", "dx is 3; wanted 0 or 1")]
    parcels = cache.parcels(2, "schaefer3")
    assert parcels.regions == ("1", "2", "3")
    np.testing.assert_allclose(parcels.z_FR, bold[2].astype(float) * np.sqrt(19 / 20), rtol=1e-5)
    np.testing.assert_allclose(parcels.raw(), bold[2].astype(float) * [1, 1, 0.5] + [1, 2, 3], atol=1e-5)


def broken(folder: Path, change) -> Path:
    """The first file of training with a changed table."""
    path = next((folder / "train").glob("*.arrow"))
    with pa.OSFile(str(path)) as source:
        table = pa.ipc.open_stream(source).read_all()
    table = change(table)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)
    return path


def with_matrix(table: pa.Table, name: str, rows: list) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, name, pa.array(rows * len(table), pa.list_(pa.list_(pa.float32()))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["std"]), r"columns must be bold, mean, std and tr, got .* \(no std\)"),
        (lambda t: t.drop_columns(["sub"]), "subject must be in a column"),
        (lambda t: t.drop_columns(["dx"]), "diagnosis must be a column 'dx', got the columns sub"),
        (
            lambda t: with_matrix(t, "mean", [[[1.0, 2.0]]]),
            r"shapes \(T, D\), \(1, D\) and \(1, D\), got \(40, 5\), \(1, 2\)",
        ),
        (
            lambda t: with_matrix(t, "bold", [[[1.0, 2.0], [3.0]]]),
            "matrices of numbers, got ragged or empty ones in row 0",
        ),
        (lambda t: with_matrix(t, "bold", [[]]), "got ragged or empty ones in row 0"),
        (
            lambda t: t.set_column(t.schema.get_field_index("tr"), "tr", pa.array([2000.0] * len(t))),
            "repetition time",
        ),
        (
            lambda t: t.set_column(t.schema.get_field_index("bold"), "bold", t["sub"]),
            "series must be lists of lists",
        ),
    ],
)
def test_files_of_another_layout_are_told(two_sites: Cache, tmp_path, change, message) -> None:
    folder = export_arrow(two_sites, ArrowSpec(space="mine"), tmp_path / "out")
    broken(folder, change)
    with pytest.raises(BadFileError, match=message):
        import_arrow(folder, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_values_that_are_not_finite_are_listed(two_sites: Cache, tmp_path) -> None:
    folder = export_arrow(two_sites, ArrowSpec(space="mine"), tmp_path / "out")
    broken(folder, lambda t: with_matrix(t, "std", [[[1.0, 1.0, np.nan, 1.0, 1.0]]]))
    back = import_arrow(folder, tmp_path / "back")
    assert set(back.table["split"]) == {"validation", "test"}
    assert {why for _, why in back.excluded} == {"values that are not finite"}


def test_folders_and_files_that_are_none_are_told(two_sites: Cache, tmp_path) -> None:
    with pytest.raises(BadFileError, match=r"must be a folder <dataset>\.<space>\.arrow, got no folder"):
        import_arrow(tmp_path / "ppmi.x.arrow", tmp_path / "back")
    with pytest.raises(BadFileError, match="got 'two_sites'"):
        import_arrow(two_sites.root, tmp_path / "back")
    (tmp_path / "ppmi.x.arrow").mkdir()
    with pytest.raises(
        BadFileError, match=r"must be a folder with train, validation, test, got no \*\.arrow"
    ):
        import_arrow(tmp_path / "ppmi.x.arrow", tmp_path / "back")
    folder = export_arrow(two_sites, ArrowSpec(space="mine"), tmp_path / "out")
    path = next((folder / "train").glob("*.arrow"))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(BadFileError, match="Arrow file must be whole, got damaged data") as caught:
        import_arrow(folder, tmp_path / "back")
    assert caught.value.path == path
    other = export_arrow(two_sites, ArrowSpec(space="mine", dataset="other"), tmp_path / "out")
    with pytest.raises(BadFileError, match="at least one usable run, got none; the first reason: dx is 'HC'"):
        import_arrow(other, tmp_path / "back", Imported(positive="x", negative="y"))
    assert not (tmp_path / "back").exists()
