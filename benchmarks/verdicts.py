"""Do whole evaluations come to the verdicts that they should? Cohorts of known truth, judged as studies.

    python -m benchmarks.verdicts

Each seed is a simulated cohort of two sites with the demo's effect, and one without. The scans of the latter
are judged three times: with the labels they came with ("null"), with labels drawn anew so that patients move
more ("motion"), and so that three quarters of one site's people are patients and a quarter of the other's
("site"). No scan of these holds anything of the label but what it holds of motion or site.

Contenders, folds, calibration and findings are those of `neuro evaluate --repeats 1 --inner 2 --no-tangent`,
less ComBat, of which no verdict speaks. What is finished stays in the scratch folder, and the same command
goes on with it: empty it after a change of the code. Writes benchmarks/results/verdicts.json and .md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from benchmarks.outcome import command, machine, table, write
from benchmarks.verdict_cohorts import JUDGES, SCENARIOS, SUBJECTS, cohort, judged, relabelled
from data.interval import wilson
from neuro.defaults import DEMO_EFFECT
from neuro.protocol.contenders import CONNECTIVITY

Row = dict[str, Any]


def one(scratch: Path, model: str, seed: int, effect: bool) -> list[Row]:
    """All scenarios of a seed that share their scans; those that are finished are read."""
    import torch

    torch.set_num_threads(1)
    judge = JUDGES[model]
    scenarios = [name for name in judge.scenarios if (name == "planted") == effect]
    places = {scenario: scratch / f"{model}-{scenario}-{seed}.json" for scenario in scenarios}
    waiting = [scenario for scenario, place in places.items() if not place.exists()]
    if waiting:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            cache = cohort(Path(folder), seed, DEMO_EFFECT if effect else 0.0, judge.voxel_mm)
            for scenario in waiting:
                found = judged(relabelled(cache, scenario, seed), judge.config, seed)
                row = {"model": model, "scenario": scenario, "seed": seed} | found
                part = places[scenario].with_suffix(".part")
                part.write_text(json.dumps(row), encoding="utf-8")
                part.replace(places[scenario])
                print(model, scenario, seed, f"{row['cpu_seconds']:.0f} s", row["headline"], flush=True)
    return [json.loads(place.read_text(encoding="utf-8")) for place in places.values()]


def counted() -> dict[str, Callable[[Row], bool]]:
    """What is asked of every cohort, as the table names it."""
    others = ("age + sex", "head motion", "site", CONNECTIVITY)
    return {
        "above chance": lambda row: row["chance"] == "above",
        "below chance": lambda row: row["chance"] == "below",
        **{f"above {other}": partial(_above, other) for other in others},
        "above all three confounds": lambda row: all(_above(other, row) for other in others[:3]),
        "below any of these": lambda row: any(one["answer"] == "below" for one in row["comparisons"]),
        "anything claimed at all": lambda row: (
            {row["chance"], *(one["answer"] for one in row["comparisons"])} != {"not shown"}
        ),
        "prediction holds beside age, sex, motion and site": lambda row: row["beyond"]["holds"],
        "warned that groups differ": lambda row: bool(row["groups"]["differs"]),
        "sets said to fall short": lambda row: row["coverage"]["found"]["high"] < row["coverage"]["asked"],
        "probabilities found untrue (p < 0.05)": lambda row: row["calibration"]["p_calibrated"] < 0.05,
    }


def _above(other: str, row: Row) -> bool:
    return bool(_compared(row, other)["answer"] == "above")


def summary(rows: list[Row]) -> dict[str, Any]:
    """Of the cohorts of one scenario: means, and shares with Wilson's interval."""
    others = {
        one["against"]: float(np.mean([_compared(row, one["against"])["auc"] for row in rows]))
        for one in rows[0]["comparisons"]
    }
    return {
        "cohorts": len(rows),
        "mean_auc": float(np.mean([row["auc"]["estimate"] for row in rows])),
        "least_auc": min(row["auc"]["estimate"] for row in rows),
        "most_auc": max(row["auc"]["estimate"] for row in rows),
        "mean_across_auc": float(np.mean([row["across_auc"] for row in rows])),
        "mean_auc_of_others": others,
        "mean_coverage": float(np.mean([row["coverage"]["found"]["estimate"] for row in rows])),
        "mean_cpu_seconds": float(np.mean([row["cpu_seconds"] for row in rows])),
        "mean_of_one_label": float(np.mean([row["coverage"]["one"] for row in rows])),
        "counts": {
            what: {
                "of": sum(map(asked, rows)),
                **asdict(wilson(sum(map(asked, rows)) / len(rows), len(rows))),
            }
            for what, asked in counted().items()
        },
    }


def _compared(row: Row, other: str) -> dict[str, Any]:
    return next(one for one in row["comparisons"] if one["against"] == other)


def main() -> None:
    """Judge all cohorts and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="cohorts a scenario, by the frozen encoder")
    parser.add_argument(
        "--default-seeds", type=int, default=3, help="with the effect and without, by default"
    )
    parser.add_argument("--workers", type=int, default=1, help="cohorts at a time")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "verdicts")
    given = parser.parse_args()
    given.scratch.mkdir(parents=True, exist_ok=True)
    jobs = [
        (model, seed, effect)
        for model in JUDGES
        for seed in range(1, (given.seeds if model == "frozen" else given.default_seeds) + 1)
        for effect in (True, False)
    ]
    done = Parallel(n_jobs=given.workers)(delayed(one)(given.scratch, *job) for job in jobs)
    rows = [row for found in done for row in found]
    told = {
        model: {
            scenario: summary(there)
            for scenario in SCENARIOS
            if (there := [row for row in rows if (row["model"], row["scenario"]) == (model, scenario)])
        }
        for model in JUDGES
    }
    fields = {
        "command": command("benchmarks.verdicts"),
        "machine": machine("torch", "timm", "scikit-learn"),
        "subjects": SUBJECTS,
        "effect": DEMO_EFFECT,
        "models": {model: judge.told for model, judge in JUDGES.items()},
        "summary": told,
        "rows": rows,
    }
    write("verdicts", fields, "Verdicts on cohorts whose truth is known", _lines(fields))


def _lines(fields: dict[str, Any]) -> list[str]:
    lines = [
        f"Simulated cohorts of {fields['subjects']} people at 2 sites, 60 frames; one deal of 5 folds",
        "by person, 2 inner folds, and across sites. Answers are those of `neuro.report.findings.find`, as",
        "in a report, at 5 %; in brackets Wilson's 95 % interval of the share.",
        "",
        f"planted: patients lose {fields['effect']:.0%} of amplitude and coupling in the posterior putamen.",
        "null: no effect. motion: no effect, but patients move more. site: no effect, but 75 % of one site's",
        "people are patients and 25 % of the other's.",
        "",
    ]
    for model, told in fields["summary"].items():
        if told:
            lines += [f"## {JUDGES[model].told}", "", *_counts(told), "", *_figures(told), ""]
    cohorts = [row for row in fields["rows"] if row["model"] == "frozen"]
    lines += [
        "## Each cohort",
        "",
        'By the frozen encoder; p of comparisons by Holm. A small p beside "not shown": ours is the',
        "higher, but not above chance, and only what is above chance is said to be above another model.",
        "",
        *_cohorts(cohorts),
    ]
    return lines


def _counts(told: dict[str, Any]) -> list[str]:
    """Of how many cohorts each thing was said, with Wilson's interval of the share."""
    return table(
        ["cohorts that are", *(f"{name} ({found['cohorts']})" for name, found in told.items())],
        [[what, *(_share(found["counts"][what]) for found in told.values())] for what in counted()],
    )


def _share(count: dict[str, float]) -> str:
    return f"{count['of']} [{100 * count['low']:.0f}, {100 * count['high']:.0f} %]"


def _figures(told: dict[str, Any]) -> list[str]:
    others = next(iter(told.values()))["mean_auc_of_others"]
    names = {
        "mean AUC": lambda found: f"{found['mean_auc']:.3f}",
        "least to most": lambda found: f"{found['least_auc']:.3f} to {found['most_auc']:.3f}",
        "mean AUC across sites": lambda found: f"{found['mean_across_auc']:.3f}",
        "coverage of 90 % sets": lambda found: f"{found['mean_coverage']:.3f}",
        "sets of one label": lambda found: f"{found['mean_of_one_label']:.3f}",
        "processor seconds an evaluation": lambda found: f"{found['mean_cpu_seconds']:.0f}",
    }
    rows = [[what, *(tell(found) for found in told.values())] for what, tell in names.items()]
    for other in others:
        aucs = (f"{found['mean_auc_of_others'][other]:.3f}" for found in told.values())
        rows.append([f"mean AUC of {other}", *aucs])
    return table(["", *told], rows)


def _cohorts(rows: list[Row]) -> list[str]:
    heads = ["scenario", "seed", "AUC", "chance", *(one["against"] for one in rows[0]["comparisons"])]
    ordered = sorted(rows, key=lambda row: (SCENARIOS.index(row["scenario"]), row["seed"]))
    return table(
        [*heads, "beside confounds, p", "groups differ", "coverage", "calibrated, p"],
        [
            [
                row["scenario"],
                str(row["seed"]),
                f"{row['auc']['estimate']:.3f} [{row['auc']['low']:.3f}, {row['auc']['high']:.3f}]",
                f"{row['chance']} ({_p(row['p_chance'])})",
                *(f"{one['answer']} ({_p(one['p_corrected'])})" for one in row["comparisons"]),
                _p(row["beyond"]["p"]),
                str(len(row["groups"]["differs"])),
                f"{row['coverage']['found']['estimate']:.3f}",
                _p(row["calibration"]["p_calibrated"]),
            ]
            for row in ordered
        ],
    )


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


if __name__ == "__main__":
    main()
