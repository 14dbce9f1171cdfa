"""Chiasm's brain Transformer in Brainmarks, beside Brainmarks' own baseline, on a simulated cohort.

    python -m benchmarks.brainmarks --trials 10

Simulates people with a planted difference, prepares them with an atlas, writes ppmi.<space>.arrow as
`neuro export` does, runs `brainmarks.models.test_models` on the plug-in and `brainmarks.main_logistic` for
each model. Brainmarks runs in processes of its own, as anybody would run it, with the plug-in on their path.
Writes benchmarks/results/brainmarks.json and .md. Without Brainmarks it says how to install it (exit code 2).
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.brainmarks_stand_ins import ATLAS, write_atlas, write_mask
from benchmarks.outcome import command, machine, table, write
from data.caches.cache import Cache, prepare
from data.cohorts.cohort import Cohort
from data.exchange.arrow_export import ArrowSpec, export_arrow
from data.simulation.cohort import SimulationSpec, simulate
from neuro.defaults import DEMO_EFFECT
from neuro.demo import DEMO_RECIPE

SPACE = "schaefer400_tians3"  # the one of its parcel spaces that has the striatum
PLUGIN = Path(__file__).parent / "brainmarks_plugin"
# What the parts of Brainmarks that run here import; all of its requirements would bring much more.
NEEDS = (
    "brainmarks.main_logistic",
    *("cloudpathlib", "cortex", "datasets", "einops", "filelock", "omegaconf"),
    *("pytest", "tabulate", "templateflow"),
)
INSTALL = (
    "pip install --no-deps brainmarks==0.1.1 && pip install"
    " cloudpathlib datasets einops filelock omegaconf pycortex pytest tabulate templateflow"
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the table: a model, the embedding that is classified, and `model_kwargs`."""

    title: str
    model: str
    representation: str
    kwargs: tuple[str, ...] = ()


PLACES, PROFILE = "model_kwargs.summary=places", "model_kwargs.profile=correlation"
CHIASM = f"chiasm_{SPACE}"


def entries(frames: int, weights: Path | None) -> list[Entry]:
    """What is compared; profiles are taken over clips of all `frames`."""
    trained = Entry(
        title="Chiasm, trained",
        model=CHIASM,
        representation="cls",
        kwargs=(PLACES, f"model_kwargs.weights={weights and weights.resolve()}"),
    )
    profile = (PROFILE, f"model_kwargs.frames={frames}")
    return [
        Entry(title="Brainmarks' connectome", model=f"connectome_{SPACE}", representation="cls"),
        Entry(title="Chiasm, class token", model=CHIASM, representation="cls"),
        Entry(title="Chiasm, mean of places", model=CHIASM, representation="patch"),
        Entry(title="Chiasm, all places", model=CHIASM, representation="cls", kwargs=(PLACES,)),
        Entry(title="Chiasm, profiles", model=CHIASM, representation="cls", kwargs=(PLACES, *profile)),
        *([trained] if weights else []),
    ]


def missing(needs: Sequence[str] = NEEDS) -> list[str]:
    """Which modules are not there."""
    return [name for name in needs if not _is_there(name)]


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def simulated(folder: Path, options: argparse.Namespace, effect: float) -> Cache:
    """A prepared cohort with series of the stand-in's regions."""
    spec = SimulationSpec(
        subjects=options.subjects,
        frames=options.frames,
        effect_amplitude=effect,
        effect_coupling=effect,
        seed=options.seed,
    )
    derivative = simulate(folder / "derivative", spec, workers=options.workers)
    cohort = Cohort.from_derivatives(derivative)
    return prepare(cohort, DEMO_RECIPE, folder / "cache", atlases=[write_atlas(folder)], progress=False)


def environment(folder: Path) -> dict[str, str]:
    """What Brainmarks' processes find: the plug-in, the data (its modules ask when imported), no network."""
    path = os.pathsep.join([str(PLUGIN), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {
        **os.environ,
        "PYTHONPATH": path,
        "PPMI_ROOT": str(folder),
        "HF_HOME": str(folder / "huggingface"),  # it keeps copies of data, known by their path
        "HF_HUB_OFFLINE": "1",
        "CHIASM_MNI_MASK": str(write_mask(folder)),
    }


def check_models(environ: dict[str, str]) -> dict[str, int]:
    """`test_models` on the plug-in. Its exit code says nothing: a plug-in that is not found passes as well.

    Raises:
        RuntimeError: a test failed, or none ran.
    """
    found = subprocess.run(
        [sys.executable, "-m", "brainmarks.models.test_models", "chiasm"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|error)", found.stdout)}
    if set(counts) != {"passed"}:
        raise RuntimeError(f"test_models: {counts or 'no tests'}\n{found.stdout[-4000:]}\n{found.stderr}")
    return counts


def logistic(entry: Entry, folder: Path, environ: dict[str, str], trials: int) -> dict[str, Any]:
    """`main_logistic` on ppmi_dx: scores on its fixed split, mean and spread over its random ones.

    `num_workers` may not be 0, since it is also the `n_jobs` of scikit-learn, which wants at least one.
    """
    import pandas as pd

    out = folder / "output" / re.sub(r"\W+", "-", entry.title)
    overrides = [f"output_root={out}", "device=cpu", "amp=false", "num_workers=1", "batch_size=16"]
    subprocess.run(
        [
            *(sys.executable, "-m", "brainmarks.main_logistic", entry.model, entry.representation, "ppmi_dx"),
            *("--overrides", *overrides, f"n_trials={trials}", *entry.kwargs),
        ],
        env=environ,
        check=True,
        cwd=folder,
    )
    rows = pd.read_csv(next(out.rglob("eval_table.csv"))).query("split == 'test'")
    fixed, random = rows[rows["trial"].isna()].iloc[0], rows[rows["trial"].notna()]
    return {
        "title": entry.title,
        "model": entry.model,
        "representation": entry.representation,
        "kwargs": list(entry.kwargs),
        "trials": len(random),
        **{f"fixed_{name}": float(fixed[name]) for name in ("acc", "f1", "bacc")},
        **{f"random_{name}": float(random[name].mean()) for name in ("acc", "f1", "bacc")},
        **{f"random_{name}_sd": float(random[name].std()) for name in ("acc", "f1", "bacc")},
    }


def measured(options: argparse.Namespace, effect: float) -> dict[str, Any]:
    """A cohort of this effect through Brainmarks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = simulated(folder, options, effect)
        export_arrow(cache, ArrowSpec(space=SPACE, atlas=ATLAS), folder)
        environ = environment(folder)
        return {
            "effect": effect,
            "people": len(cache),
            "identity": cache.identity,
            "tests": check_models(environ),
            "rows": [
                logistic(entry, folder, environ, options.trials)
                for entry in entries(options.frames, options.weights)
            ],
        }


def report(fields: dict[str, Any]) -> list[str]:
    """The tables in Markdown."""
    first = fields["cohorts"][0]
    lines = [
        f"{first['people']} simulated people at 2 sites, {fields['frames']} frames of 2 s, space `{SPACE}`;",
        f"regions are a stand-in ({ATLAS}), as the atlas is not to be had offline. Test scores of",
        "`brainmarks.main_logistic` on `ppmi_dx`, logistic regression with C by cross-validation: its",
        "fixed split, and mean ± standard deviation over its random ones. Where no weights are named,",
        "Chiasm's are random: this says that the plug-in works, and what an untrained Transformer hands on.",
        "Patients lose amplitude and coupling; a connectome sees coupling alone, these tokens amplitude too.",
        "",
        f"`brainmarks.models.test_models chiasm`: {first['tests']['passed']} passed.",
    ]
    for cohort in fields["cohorts"]:
        lines += ["", f"## Effect {cohort['effect']:g}", ""]
        lines += table(
            ["", "model", "embedding", "fixed: balanced accuracy", "random: balanced accuracy", "random: F1"],
            [_line(row) for row in cohort["rows"]],
        )
    return lines


def _line(row: dict[str, Any]) -> list[str]:
    return [
        row["title"],
        f"`{row['model']}`",
        " ".join([row["representation"], *row["kwargs"]]),
        f"{row['fixed_bacc']:.3f}",
        *(f"{row[f'random_{name}']:.3f} ± {row[f'random_{name}_sd']:.3f}" for name in ("bacc", "f1")),
    ]


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=60)
    parser.add_argument("--frames", type=int, default=80)
    parser.add_argument("--effects", type=float, nargs="+", default=[DEMO_EFFECT, 0.0])
    parser.add_argument("--trials", type=int, default=10, help="random splits of main_logistic")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weights", type=Path, help="folder of a trained classifier, for a line of its own")
    parser.add_argument("--workers", type=int, default=1, help="processes that simulate")
    options = parser.parse_args()
    if lacking := missing():
        print(f"Brainmarks cannot run here ({', '.join(lacking)} missing): {INSTALL}", file=sys.stderr)
        raise SystemExit(2)
    fields = {
        "command": command("benchmarks.brainmarks"),
        "machine": machine("brainmarks", "datasets", "torch", "scikit-learn"),
        "frames": options.frames,
        "seed": options.seed,
        "cohorts": [measured(options, effect) for effect in options.effects],
    }
    write("brainmarks", fields, "The brain Transformer in Brainmarks", report(fields))


if __name__ == "__main__":
    main()
