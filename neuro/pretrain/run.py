"""A pretraining from caches to an encoder in a folder: a broad blend, then the cohort of interest.

OUT/run.json     what was done: cohorts, people, options, losses; written last: what has it is whole
OUT/report.json  how the weights of the blend were found, where they were
OUT/encoder/     the result (see `neuro.model.encoder_folder`)
OUT/phase-1, OUT/phase-2   each phase's files of training (see `neuro.training.keeping`), and its weights
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from data.digest import sha256
from data.errors import BadFileError, FingerprintMismatchError, ParameterError
from data.writing import require_new_or_empty, write_whole
from neuro.model import BrainEncoder, ModelConfig, fresh_encoder
from neuro.model.encoder_folder import INNER, load_encoder, save_encoder
from neuro.model.model_folder import ENCODER
from neuro.pretrain.blend import check_weights
from neuro.pretrain.config import PretrainConfig
from neuro.pretrain.lesson import Lesson, Modelling, lesson_of, modelling
from neuro.pretrain.phase import Phase, run_phase
from neuro.pretrain.pools import Pool, held_out_people, open_pool, require_alike
from neuro.pretrain.proxy import ProxyConfig, trials_told, try_blends
from neuro.tokens import TokenLayout, TokenSpec, TubeletSpec, spec_as_dict
from neuro.training.loop import Listeners
from vision.training.ranks import is_first

FORMAT = 1
BEGUN, RUN, REPORT = "pretraining.json", "run.json", "report.json"
OnTrial = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is pretrained on what.

    Attributes:
        caches: cohorts of the first phase.
        weights: shares of their samples; None takes their sizes, "auto" finds them by small trials.
        then: the cohort of interest, for a second phase; None has none.
        tokens: how runs are cut; with `init_from` as the encoder wants it.
        model: what the encoder is like; with `init_from` its own.
        init_from: folder of an encoder to begin with.
        config: how.
        proxy: how small the trials are.
    """

    caches: Sequence[Path]
    weights: Sequence[float] | Literal["auto"] | None = None
    then: Path | None = None
    tokens: TokenSpec = field(default_factory=TubeletSpec)
    model: ModelConfig = field(default_factory=ModelConfig)
    init_from: Path | None = None
    config: PretrainConfig = field(default_factory=PretrainConfig)
    proxy: ProxyConfig = field(default_factory=ProxyConfig)

    def __post_init__(self) -> None:
        if not self.caches:
            raise ParameterError("caches", must_be="at least one", got="none")
        if self.weights == "auto" and self.then is None:
            do = "name the cohort of interest with --then: its held-out people decide"
            raise ParameterError("weights", must_be="numbers without a cohort of interest", got="auto", do=do)
        if self.weights == "auto" and len(self.caches) < 2:
            raise ParameterError("weights", must_be="left out for one cohort", got="auto")
        if self.weights is not None and not isinstance(self.weights, str):
            check_weights(self.weights, len(self.caches))


def pretrain(
    plan: Plan,
    out: str | Path,
    *,
    resume: bool = False,
    command: str | None = None,
    listeners: Listeners | None = None,
    on_trial: OnTrial | None = None,
) -> dict[str, Any]:
    """Pretrain an encoder and write it; what `run.json` says comes back.

    Args:
        plan: what on what.
        out: a new folder, or with `resume` that of the very same pretraining.
        resume: go on with it.
        command: the command line, to be repeated in `run.json`.
        listeners: who is told of steps and epochs.
        on_trial: told what blend is tried, how many trials are done, and of how many.

    Raises:
        ParameterError: cohorts that do not fit together, people too few, `out` holds something.
        BadFileError: a cache or encoder is damaged, or there is nothing to resume.
        FingerprintMismatchError: the pretraining to resume is another one.
        StoppedError: a signal asked for it; the run is saved.
    """
    folder = Path(out)
    if not resume and is_first():
        require_new_or_empty(folder)
    start = _Start.of(plan)
    pools = [open_pool(path, start.tokens, device=plan.config.device) for path in plan.caches]
    target = [open_pool(plan.then, start.tokens, device=plan.config.device)] if plan.then else []
    require_alike([*pools, *target])
    held = held_out_people([*pools, *target], plan.config.held_out, seed=plan.config.seed)
    identity = _identity(plan, start, [*pools, *target])
    _claim(folder, identity, resume=resume)
    objective = start.objective(pools[0].runs[0].layout)
    first = lesson_of(pools, held, plan.config, others=target)
    second = lesson_of(target, held, plan.config, others=pools) if target else None
    weights = _weights(plan, first, second, folder, on_trial)
    phases = [_phase(1, first, weights, folder)] + ([_phase(2, second, [1.0], folder)] if second else [])
    told = [run_phase(phase, objective, resume=resume, listeners=listeners) for phase in phases]
    facts = {
        "format": FORMAT,
        "command": command,
        **identity,
        "weights": list(weights),
        "phases": told,
        "people_held_out": sorted(held),
        "people": sorted({str(person) for pool in (*pools, *target) for person in pool.people}),
        "fingerprint": objective.encoder.backbone.fingerprint,
    }
    if is_first():
        _write(objective.encoder, start.tokens, folder, facts)
    return facts


@dataclass(frozen=True, kw_only=True, eq=False)
class _Start:
    """What the encoder begins as, and how runs are cut for it."""

    plan: Plan
    tokens: TokenSpec
    encoder: BrainEncoder | None

    @classmethod
    def of(cls, plan: Plan) -> _Start:
        if plan.init_from is None:
            return cls(plan=plan, tokens=plan.tokens, encoder=None)
        encoder, tokens = load_encoder(plan.init_from, device=plan.config.device)
        return cls(plan=plan, tokens=tokens, encoder=encoder)

    def objective(self, layout: TokenLayout) -> Modelling:
        """The objective around the encoder, untrained or as it was; cohorts of another layout are refused."""
        plan, encoder = self.plan, self.encoder
        if encoder is not None and encoder.layout != layout:
            raise ParameterError(
                "tokens of the cohorts", must_be=f"as the encoder takes them ({encoder.layout})", got=layout
            )
        if encoder is None:
            encoder = fresh_encoder(layout, plan.model, seed=plan.config.seed, device=plan.config.device)
        return modelling(encoder, plan.config)


def _phase(number: int, lesson: Lesson, weights: Sequence[float], folder: Path) -> Phase:
    return Phase(lesson=lesson, weights=weights, folder=folder / f"phase-{number}")


def _identity(plan: Plan, start: _Start, pools: Sequence[Pool]) -> dict[str, Any]:
    """What a pretraining to resume must have in common with the one that was begun, JSON-ready."""
    model = start.encoder.config if start.encoder is not None else plan.model
    told: dict[str, Any] = {
        "cohorts": [
            {
                "cache": Path(pool.name).name,
                "recipe": pool.identity,
                "runs": sorted(r.run_id for r in pool.runs),
            }
            for pool in pools
        ],
        "second_phase": plan.then is not None,
        "asked_weights": list(plan.weights) if isinstance(plan.weights, list | tuple) else plan.weights,
        "tokens": spec_as_dict(start.tokens),
        "layout": asdict(pools[0].runs[0].layout),
        "model": asdict(model),
        "init_from": start.encoder.backbone.fingerprint if start.encoder is not None else None,
        "pretraining": plan.config.identity(),
        "proxy": asdict(plan.proxy) if plan.weights == "auto" else None,
    }
    content: dict[str, Any] = json.loads(json.dumps(told))  # tuples become lists, as they are when read again
    return content


def _claim(folder: Path, identity: dict[str, Any], *, resume: bool) -> None:
    """Write down what is being done, or see that it is the same.

    Raises:
        BadFileError: there is nothing to resume.
        FingerprintMismatchError: it is another one.
        ParameterError: it is finished.
    """
    if not resume:
        if is_first():
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / BEGUN, json.dumps(identity, indent=1) + "\n")
        return
    try:
        there = json.loads((folder / BEGUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        do = "begin one without --resume"
        raise BadFileError(
            "pretraining to resume", must_be="there", got=str(error), do=do, path=folder
        ) from error
    differing = sorted(
        name for name in there.keys() | identity.keys() if there.get(name) != identity.get(name)
    )
    if differing:
        raise FingerprintMismatchError(
            "pretraining to resume",
            must_be="the one that was begun",
            got=f"another: {', '.join(differing)} differ{'s' * (len(differing) == 1)}",
            do="give the same caches and options, or begin anew in another folder",
            path=folder,
        )
    if (folder / RUN).is_file():
        do = "begin from its encoder with --init-from, in another folder"
        raise ParameterError("pretraining to resume", must_be="unfinished", got=f"{folder}, finished", do=do)


def _weights(
    plan: Plan, first: Lesson, second: Lesson | None, folder: Path, on_trial: OnTrial | None
) -> list[float]:
    """The weights of the blend: as given, by size, or found; then report.json says how."""
    if plan.weights is None:
        return [float(len(pool)) for pool in first.train]
    if not isinstance(plan.weights, str):
        return [float(weight) for weight in plan.weights]
    assert second is not None
    report = folder / REPORT
    if report.is_file():  # of this very pretraining, broken off later
        found: list[float] = json.loads(report.read_text(encoding="utf-8"))["weights"]
        return found
    trials = try_blends(first, second, plan.proxy, on_trial=on_trial)
    content = {
        "weights": trials[0].weights,
        "cohorts": [pool.name for pool in first.train],
        "measured_on": second.held[0].name,
        "held_out_runs": len(second.held[0]),
        "proxy": asdict(plan.proxy),
        "trials": trials_told(trials),
    }
    if is_first():
        write_whole(report, json.dumps(content, indent=1) + "\n")
    return list(trials[0].weights)


def _write(encoder: BrainEncoder, tokens: TokenSpec, folder: Path, facts: dict[str, Any]) -> None:
    shutil.rmtree(folder / INNER, ignore_errors=True)  # of an end that was broken off
    save_encoder(encoder, tokens, folder / INNER)
    facts = {**facts, "weights_sha256": sha256(folder / INNER / ENCODER.weights)}
    write_whole(folder / RUN, json.dumps(facts, indent=1) + "\n")
