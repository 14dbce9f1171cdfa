"""Brainmarks' layout: what is written, against what `datasets` writes; what comes back; what is refused."""

from __future__ import annotations

import builtins
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data.caches.cache import Cache
from data.caches.cache_files import RUNS
from data.errors import FingerprintMismatchError, MissingDependencyError, ParameterError
from data.exchange import arrow_layout
from data.exchange.arrow_export import ArrowSpec, export_arrow, split_people
from data.exchange.arrow_import import import_arrow

PEOPLE, T, R = 24, 40, 5


def rows_in(folder: Path, split: str) -> list[dict[str, object]]:
    """Every row of a split, read by pyarrow alone."""
    rows: list[dict[str, object]] = []
    for path in sorted((folder / split).glob("*.arrow")):
        with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as stream:
            rows += stream.read_all().to_pylist()
    return rows


def test_the_schema_is_the_one_that_datasets_writes(two_sites: Cache, tmp_path: Path) -> None:
    """Copied from a file of datasets 5.2 with the features of Brainmarks' make_adni_eval.py."""
    folder = export_arrow(two_sites, ArrowSpec(space="mine"), tmp_path / "out")
    assert folder == tmp_path / "out" / "ppmi.mine.arrow"
    with pa.OSFile(str(folder / "train" / "data-00000-of-00001.arrow")) as source:
        schema = pa.ipc.open_stream(source).schema
    lists = {"bold": pa.float16(), "mean": pa.float32(), "std": pa.float32()}
    for name, values in lists.items():
        field = schema.field(name)
        assert field.type == pa.list_(pa.list_(values))
        first, dtype = ("null", "float16") if name == "bold" else ("1", "float32")
        assert field.metadata == {
            b"ARROW:extension:name": b"datasets.features.features.Array2DExtensionType",
            b"ARROW:extension:metadata": f'[[{first}, 5], "{dtype}"]'.encode(),
        }
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names
    assert features["bold"] == {"shape": [None, 5], "dtype": "float16", "_type": "Array2D"}
    assert features["dx"] == {"dtype": "string", "_type": "Value"}
    assert [str(schema.field(name).type) for name in ("dx", "tr", "n_frames")] == ["string", "float", "int32"]
    for split in ("train", "validation", "test"):
        info = json.loads((folder / split / "dataset_info.json").read_text())
        state = json.loads((folder / split / "state.json").read_text())
        assert info["features"] == features
        assert info["splits"][split]["num_examples"] == len(rows_in(folder, split))
        assert state["_split"] == split
        names = [path.name for path in sorted((folder / split).glob("*.arrow"))]
        assert [file["filename"] for file in state["_data_files"]] == names
    assert json.loads((folder / "dataset_dict.json").read_text()) == {
        "splits": ["train", "validation", "test"]
    }


def test_rows_are_z_scores_of_the_population_with_what_brings_them_back(two_sites: Cache, tmp_path) -> None:
    folder = export_arrow(two_sites, ArrowSpec(space="mine", positive="patient"), tmp_path / "out")
    rows = [row for split in ("train", "validation", "test") for row in rows_in(folder, split)]
    assert sorted(row["path"] for row in rows) == sorted(two_sites.table["run_id"])
    for row in rows:
        i = two_sites.table["run_id"].tolist().index(row["path"])
        person, wanted = two_sites.table.iloc[i], two_sites.parcels(i, "mine").raw()
        bold, mean, std = (np.array(row[name], np.float64) for name in ("bold", "mean", "std"))
        assert (bold.shape, mean.shape, std.shape) == ((T, R), (1, R), (1, R))
        np.testing.assert_allclose(bold[:, :4].std(0), 1, atol=1e-3)  # numpy's std is the population's
        np.testing.assert_allclose(std[0, :4], wanted[:, :4].std(0), rtol=1e-5)
        np.testing.assert_allclose(bold * std + mean, wanted, atol=0.1)  # float16 of z, 30 units each
        assert not bold[:, 4].any()
        assert (std[0, 4], mean[0, 4]) == (0, 7)
        assert (row["sub"], row["site"], row["tr"]) == (person["person"], person["site"], person["tr"])
        assert row["dx"] == ("patient" if person["label"] else "HC")
        assert row["ses"] == ""  # a null would not get through PyTorch's loaders
        assert row["n_frames"] == T


def test_nobody_stands_in_two_splits_and_ages_are_cut_by_training_people(two_sites: Cache, tmp_path) -> None:
    folder = export_arrow(two_sites, ArrowSpec(space="mine"), tmp_path / "out")
    splits = {name: rows_in(folder, name) for name in ("train", "validation", "test")}
    people = [{row["sub"] for row in rows} for rows in splits.values()]
    assert not people[0] & people[1]
    assert not people[1] & people[2]
    assert not people[0] & people[2]
    assert len(set.union(*people)) == PEOPLE - 1  # one of them twice
    assert sum(map(len, splits.values())) == PEOPLE
    ages = dict(zip(two_sites.table["person"], two_sites.table["age"], strict=True))
    edges = np.quantile([ages[sub] for sub in people[0]], [1 / 3, 2 / 3])
    for row in (row for rows in splits.values() for row in rows):
        assert row["age_bin"] == f"Q{1 + (ages[row['sub']] >= edges).sum()}"
    assert {row["dx"] for row in splits["test"]} == {"PD", "HC"}
    for folds in (3, 4):
        dealt = split_people(two_sites.table, folds=folds, seed=1)
        np.testing.assert_array_equal(np.sort(np.concatenate(list(dealt.values()))), np.arange(PEOPLE))
    with pytest.raises(ParameterError, match="folds must be at least 3"):
        split_people(two_sites.table, folds=2)


def test_what_is_not_known_of_everybody_is_left_out(two_sites: Cache, tmp_path) -> None:
    two_sites.table.loc[3, "age"] = np.nan
    folder = export_arrow(two_sites, ArrowSpec(space="mine"), tmp_path / "out")
    assert "age_bin" not in rows_in(folder, "train")[0]
    assert "sex" in rows_in(folder, "train")[0]
    info = json.loads((folder / "train" / "dataset_info.json").read_text())
    assert info["description"].endswith("Left out, as it is not known of everybody: age_bin.")
    assert two_sites.identity in info["description"]


def test_fewer_frames_are_standardized_anew(two_sites: Cache, tmp_path) -> None:
    folder = export_arrow(two_sites, ArrowSpec(space="mine", frames=17), tmp_path / "out")
    row = rows_in(folder, "validation")[0]
    i = two_sites.table["run_id"].tolist().index(row["path"])
    raw = two_sites.parcels(i, "mine").raw()[:17, :4]
    np.testing.assert_allclose(np.array(row["mean"])[0, :4], raw.mean(0), rtol=1e-5)
    np.testing.assert_allclose(np.array(row["std"])[0, :4], raw.std(0), rtol=1e-4)
    np.testing.assert_allclose(np.array(row["bold"])[:, :4], (raw - raw.mean(0)) / raw.std(0), atol=2e-3)
    with pytest.raises(ParameterError, match=r"frames must be 2 to 40, as sub-p.* has no more, got 41"):
        export_arrow(two_sites, ArrowSpec(space="mine", frames=41), tmp_path / "other")
    assert not any((tmp_path / "other").glob("*"))


def test_rows_go_into_shards_by_size(two_sites: Cache, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(arrow_layout, "SHARD_BYTES", 3 * 2 * T * R)
    folder = export_arrow(two_sites, ArrowSpec(space="mine"), tmp_path / "out")
    names = sorted(path.name for path in (folder / "train").glob("*.arrow"))
    assert len(names) == -(-len(rows_in(folder, "train")) // 3)
    assert names[0] == f"data-00000-of-{len(names):05d}.arrow"
    assert len(import_arrow(folder, tmp_path / "back")) == PEOPLE


def test_spaces_of_brainmarks_have_its_dimensions(two_sites: Cache, tmp_path) -> None:
    with pytest.raises(
        ParameterError,
        match="atlas of the space schaefer400 must be of 400 regions, as Brainmarks has it, got 5",
    ):
        export_arrow(two_sites, ArrowSpec(space="schaefer400", atlas="mine"), tmp_path / "out")
    with pytest.raises(ParameterError, match=r"atlas must be one of the cache's \(mine\), got schaefer400"):
        export_arrow(two_sites, ArrowSpec(space="schaefer400"), tmp_path / "out")
    with pytest.raises(ParameterError, match="mask must be given for the space mni, got none"):
        export_arrow(two_sites, ArrowSpec(space="mni"), tmp_path / "out")
    with pytest.raises(ParameterError, match=r"space must be of letters, digits, .* got '\.\./x'"):
        export_arrow(two_sites, ArrowSpec(space="../x", atlas="mine"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out" / "ppmi.mine.arrow" / "train").mkdir(parents=True)
    with pytest.raises(ParameterError, match="must be new or empty"):
        export_arrow(two_sites, ArrowSpec(space="mine"), tmp_path / "out")


def test_runs_of_another_atlas_are_refused(two_sites: Cache, tmp_path) -> None:
    table = two_sites.root / RUNS / str(two_sites.table["run_id"].iloc[5]) / "parcels" / "mine.json"
    table.write_text(json.dumps({**json.loads(table.read_text()), "digest": "other"}))
    with pytest.raises(FingerprintMismatchError, match="atlas mine must be the same for all runs"):
        export_arrow(two_sites, ArrowSpec(space="mine"), tmp_path / "out")


def test_without_pyarrow_the_extra_is_named(two_sites: Cache, tmp_path, monkeypatch) -> None:
    real = builtins.__import__

    def refuse(name, *rest):
        if name == "pyarrow":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingDependencyError, match=r"pip install 'chiasm\[arrow\]'"):
        export_arrow(two_sites, ArrowSpec(space="mine"), tmp_path / "out")
