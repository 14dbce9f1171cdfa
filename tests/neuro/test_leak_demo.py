"""`neuro leak-demo`: labels by lot seem to be told when samples are split at random, not when people are."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.caches.cache import Cache
from data.errors import LeakError, ParameterError
from data.exchange.parcel_cohort import ParcelCohort, prepare_parcels
from data.splits.folds import subject_folds
from neuro.protocol.leak_demo import LeakDemo, in_words, leak_demo, write_leak_demo
from neuro.protocol.leak_guard import assert_units_by_person
from neuro.protocol.leak_samples import Samples, cached_samples, simulated_samples

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def samples() -> Samples:
    return simulated_samples(24, 0)


@pytest.fixture(scope="module")
def found(samples: Samples) -> LeakDemo:
    return leak_demo(samples, draws=20)


def test_slices_are_told_and_people_are_not(found: LeakDemo) -> None:
    assert min(found.by_unit) > 0.9
    assert found.mean_by_unit.low > 0.95
    assert 0.4 < found.mean_by_person.estimate < 0.6
    # The t interval over 20 draws misses 0.5 once in twenty seeds; this allows for one in thousands.
    reach = 2 * (found.mean_by_person.high - found.mean_by_person.low)
    assert abs(found.mean_by_person.estimate - 0.5) < reach
    assert len(found.by_unit) == len(found.by_person) == 20


def test_it_is_people_that_are_recognised_not_slices(samples: Samples) -> None:
    """With persons dealt anew to every slice nobody can be recognised, and nothing is left to be told."""
    nobody = np.random.default_rng(0).permutation(samples.people_S)
    found = leak_demo(replace(samples, people_S=nobody), draws=4)
    assert 0.4 < found.mean_by_unit.estimate < 0.6


def test_the_guard_refuses_what_the_demo_does(samples: Samples, found: LeakDemo) -> None:
    assert found.refusal.startswith("training and test slices must be of different people, got slices of the")
    labels = (samples.people_S > "sub-012").astype(int)
    for train, test in subject_folds(labels, samples.people_S, n_splits=5):
        assert_units_by_person(samples.people_S, train, test)
    with pytest.raises(LeakError):
        assert_units_by_person(samples.people_S, np.arange(0, 400, 2), np.arange(1, 400, 2))


def test_simulated_people_are_the_same_for_the_same_seed(samples: Samples) -> None:
    again, other = simulated_samples(24, 0), simulated_samples(24, 1)
    np.testing.assert_array_equal(samples.features_SF, again.features_SF)
    assert not np.array_equal(samples.features_SF, other.features_SF)
    assert len(samples.people) == 24
    assert np.isfinite(samples.features_SF).all()


def test_a_cache_gives_slices_as_the_scanner_saw_them(cache: Cache) -> None:
    found = cached_samples(cache, 0)
    assert found.unit == "slice"
    assert set(found.people) == set(cache.table["person"].astype(str))
    assert len(found.people_S) == len(found.features_SF) == len(cache) * 48
    told = leak_demo(found, draws=4)
    assert told.mean_by_unit.estimate > 0.9
    assert told.mean_by_person.estimate < 0.75


def test_a_cache_of_regions_gives_windows(tmp_path: Path) -> None:
    """Every person's regions go together in a way of their own, as in a fingerprint of connectivity."""
    rng = np.random.default_rng(3)
    mixing = rng.normal(size=(12, 6, 6))
    series = np.einsum("ptr,prs->pts", rng.normal(size=(12, 160, 6)), mixing).astype(np.float32)
    names = np.array([f"p{i:02d}" for i in range(12)])
    np.savez(tmp_path / "siteA.npz", ts_AAL=series, subject=names, y=np.arange(12) % 2)
    cache = prepare_parcels(ParcelCohort.from_npz([tmp_path / "siteA.npz"], tr=2), tmp_path / "cache")
    found = cached_samples(cache, 0)
    assert (found.unit, found.features_SF.shape) == ("window", (96, 15))
    np.testing.assert_allclose(
        found.features_SF[0], np.corrcoef(series[0, :20].T)[np.tril_indices(6, -1)], atol=1e-3
    )
    assert leak_demo(found, draws=4).mean_by_unit.estimate > 0.9


def test_too_few_people_or_draws_are_refused(samples: Samples, cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="--subjects must be at least 10"):
        simulated_samples(9, 0)
    with pytest.raises(ParameterError, match="--draws must be at least 2"):
        leak_demo(samples, draws=1)
    with pytest.raises(ParameterError, match="at least 10 people"):
        cached_samples(replace(cache, table=cache.table.iloc[:6]), 0)


def test_what_is_written_is_what_was_found(found: LeakDemo, tmp_path: Path) -> None:
    page = write_leak_demo(found, tmp_path / "out")
    text = page.read_text(encoding="utf-8")
    assert f"| by person | {found.mean_by_person} |" in text
    assert found.refusal in text
    assert "11:22544" in text
    facts = json.loads((tmp_path / "out/leak.json").read_text())
    assert facts["by_unit"] == list(found.by_unit)
    assert facts["mean_by_person"]["estimate"] == found.mean_by_person.estimate
    with Image.open(tmp_path / "out/leak.png") as picture:
        assert picture.width > 500
        assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 20
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ParameterError, match="--out must be a folder"):
        write_leak_demo(found, tmp_path / "file")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "neuro", "leak-demo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)


def test_the_command_in_a_real_process(tmp_path: Path) -> None:
    done = run("--out", tmp_path / "leak", "--subjects", 16, "--draws", 4)
    assert done.returncode == 0, done.stderr
    by_slice, by_person, page = done.stdout.splitlines()
    assert float(by_slice.removeprefix("split by slice: AUC ").split()[0]) > 0.9
    assert 0.3 < float(by_person.removeprefix("split by person: AUC ").split()[0]) < 0.7
    assert page == f"page: {tmp_path / 'leak/leak.md'}"
    assert sorted(path.name for path in (tmp_path / "leak").iterdir()) == ["leak.json", "leak.md", "leak.png"]
    content = json.loads((tmp_path / "leak/leak.json").read_text())
    assert (content["people"], content["samples"], len(content["by_person"])) == (16, 768, 4)


def test_the_command_takes_a_cache_and_refuses_what_is_none(cache: Cache, tmp_path: Path) -> None:
    done = run(cache.root, "--out", tmp_path / "leak", "--draws", 2)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "leak/leak.md").read_text(encoding="utf-8")
    assert f"12 people of {cache.root.name}, diagnoses put aside; 576 slices" in page
    refused = run(tmp_path, "--out", tmp_path / "other")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ")
    assert not (tmp_path / "other").exists()


def test_words_give_both_figures(found: LeakDemo) -> None:
    first, second = in_words(found)
    assert first == f"split by slice: AUC {found.mean_by_unit}, of labels that mean nothing"
    assert second == f"split by person: AUC {found.mean_by_person}, as it must be"
