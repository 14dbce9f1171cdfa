"""`neuro`: fMRI runs in, an honest number out. A thin shell over the package."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from data.command_line import run
from neuro.defaults import DEMO_EFFECT, DEMO_SUBJECTS, EPOCHS, FOLDS

app = typer.Typer(
    help="Brain scans as token sequences. For research, not for diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Seed = Annotated[int, typer.Option(help="Same seed, same result.")]
Out = Annotated[Path, typer.Option(help="Folder to write.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Epochs = Annotated[int, typer.Option(help="Passes over the training runs.")]
BackboneName = Annotated[str | None, typer.Option(help="Model whose trunk is used (see `vision models`).")]


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="New folder for the derivative.")],
    subjects: Annotated[int, typer.Option(help="People in all, half of them patients.")] = 40,
    sites: Annotated[int, typer.Option(help="Scanners they are spread over.")] = 2,
    effect: Annotated[
        float, typer.Option(help="Share of amplitude and coupling that patients lose, 0 to 1.")
    ] = 0.5,
    effect_amplitude: Annotated[
        float | None, typer.Option(help="Amplitude alone, instead of --effect.")
    ] = None,
    effect_coupling: Annotated[
        float | None, typer.Option(help="Coupling alone, instead of --effect.")
    ] = None,
    seed: Seed = 0,
    voxel_mm: Annotated[int, typer.Option(help="Voxel edge in mm.")] = 4,
    frames: Annotated[int, typer.Option(help="Frames a run.")] = 60,
    tr: Annotated[float, typer.Option(help="Repetition time in seconds.")] = 2.0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Write a cohort of realistic runs with a known, planted effect, in fMRIPrep's layout."""
    from rich.console import Console
    from rich.progress import track

    from data.simulate import SimulationSpec, iter_simulate

    spec = SimulationSpec(
        subjects=subjects,
        sites=sites,
        effect_amplitude=effect if effect_amplitude is None else effect_amplitude,
        effect_coupling=effect if effect_coupling is None else effect_coupling,
        seed=seed,
        voxel_mm=voxel_mm,
        frames=frames,
        tr=tr,
    )
    written = iter_simulate(out, spec, workers=workers)
    for _ in track(written, "Simulating people", total=subjects, console=Console(stderr=True)):
        pass
    print(f"{subjects} people at {sites} sites in {out}; the planted region is {out / 'planted_mask.nii.gz'}")


@app.command()
def prepare(
    derivatives: Annotated[Path, typer.Argument(help="fMRIPrep's output folder.")],
    out: Out,
    table: Annotated[Path | None, typer.Option(help="Participants table, if it is elsewhere.")] = None,
    label: Annotated[str, typer.Option(help="Its column with the diagnosis.")] = "group",
    positive: Annotated[str, typer.Option(help="The value that means patient.")] = "PD",
    negative: Annotated[str, typer.Option(help="The value that means control.")] = "HC",
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    space: Annotated[str | None, typer.Option(help="Only this space.")] = None,
    confounds: Annotated[str, typer.Option(help="none, 6p, 9p, simple, scrubbing or compcor.")] = "simple",
    high_pass: Annotated[float, typer.Option(help="Hz; 0 for none.")] = 0.01,
    low_pass: Annotated[float, typer.Option(help="Hz; 0 for none.")] = 0.1,
    smooth_mm: Annotated[float, typer.Option(help="Smoothing in mm (FWHM); 0 for none.")] = 0.0,
    skip_bad: Annotated[
        bool, typer.Option(help="List runs that cannot be used instead of stopping.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
) -> None:
    """Clean every run once into a memory-mapped cache."""
    from data.cache import prepare as prepare_cache
    from data.clean import Recipe
    from data.cohort import Cohort

    recipe = Recipe(
        confounds=confounds,
        high_pass=high_pass or None,
        low_pass=low_pass or None,
        smooth_mm=smooth_mm or None,
    )
    cohort = Cohort.from_derivatives(
        derivatives, table=table, label=label, positive=positive, negative=negative, task=task, space=space
    )
    cache = prepare_cache(cohort, recipe, out, on_error="exclude" if skip_bad else "raise", workers=workers)
    print(f"{len(cache)} runs in {out}, {len(cache.excluded)} left out; cleaned by {cache.identity}")
    for what, why in cache.excluded:
        print(f"  left out {what}: {why}")


@app.command()
def train(
    cache: Annotated[Path, typer.Argument(help="What `neuro prepare` wrote.")],
    out: Out,
    backbone: BackboneName = None,
    epochs: Epochs = EPOCHS,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train the brain Transformer on a whole cohort, for `neuro predict`."""
    from rich.console import Console
    from rich.progress import Progress

    from data.cache import Cache
    from data.writing import require_new_or_empty
    from neuro.run_folder import save_run
    from neuro.study import cut_runs, labels_and_people

    config = _study(backbone, None, epochs=epochs, seed=seed, device=device)
    require_new_or_empty(out)
    cohort = Cache.open(cache)
    labels, people = labels_and_people(cohort)
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("Training", total=epochs)
        classifier = config.classifier().fit(
            cut_runs(cohort, config.tubelet),
            labels,
            groups=people,
            on_epoch=lambda number, loss: progress.update(
                bar, completed=number + 1, description=f"Training, loss {loss:.3f}"
            ),
        )
    save_run(classifier, cohort, config.tubelet, out)
    print(f"trained on {len(cohort)} runs, final loss {classifier.losses_[-1]:.3f}; saved in {out}")
    print("This loss is of the training runs: `neuro evaluate` says how well unseen people are told apart.")


@app.command()
def evaluate(
    cache: Annotated[Path, typer.Argument(help="What `neuro prepare` wrote.")],
    out: Out,
    backbone: BackboneName = None,
    slices: Annotated[
        str | None, typer.Option(help="Also let this model look at slices, frozen, e.g. embedded:lite.")
    ] = None,
    folds: Annotated[int, typer.Option(help="Folds, by person.")] = FOLDS,
    epochs: Epochs = EPOCHS,
    seed: Seed = 0,
    device: Device = "auto",
    truth: Annotated[
        Path | None, typer.Option(help="Mask of a planted effect, to outline on the map.")
    ] = None,
) -> None:
    """Cross-validate by person, beside connectivity + SVM and the majority, and write report.html."""
    from rich.console import Console

    from data.cache import Cache
    from neuro.conduct import conduct
    from neuro.console import show_results

    config = _study(backbone, slices, epochs=epochs, folds=folds, seed=seed, device=device)
    command = shlex.join(["neuro", *sys.argv[1:]])
    evaluation = conduct(Cache.open(cache), config, out, planted=truth, command=command)
    show_results(evaluation, Console())
    print(f"report: {out / 'report.html'}")


@app.command()
def predict(
    trained: Annotated[Path, typer.Argument(metavar="RUN", help="What `neuro train` wrote.")],
    bold: Annotated[Path, typer.Argument(help="A preprocessed 4-D run.")],
    mask: Annotated[Path | None, typer.Option(help="Its brain mask.")] = None,
    confounds: Annotated[Path | None, typer.Option(help="Its confounds table.")] = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Probability of the positive class for one new run. For research, not for diagnosis."""
    from neuro.predict import predict as predict_run
    from neuro.run_folder import load_run

    found = predict_run(load_run(trained, device), bold, mask=mask, confounds=confounds)
    if as_json:
        print(json.dumps({**vars(found), "bold": str(found.bold)}))
        return
    print(f"{found.bold}: probability {found.probability:.3f} (mean of {found.clips} clips, uncalibrated)")
    print("For research, not for diagnosis.")


@app.command()
def demo(
    out: Out = Path("demo-out/brain"),
    subjects: Annotated[int, typer.Option(help="People to simulate at two sites.")] = DEMO_SUBJECTS,
    effect: Annotated[
        float, typer.Option(help="Planted effect, 0 to 1; 0 shows what chance looks like.")
    ] = DEMO_EFFECT,
    backbone: BackboneName = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Simulate a two-site cohort, evaluate the brain Transformer beside its rivals, write report.html."""
    from rich.console import Console

    from neuro.console import show_results
    from neuro.demo import SLICE_MODEL
    from neuro.demo import run as run_demo

    config = _study(backbone, SLICE_MODEL, seed=seed, device=device)
    result = run_demo(out, subjects=subjects, effect=effect, seed=seed, config=config)
    show_results(result.evaluation, Console())
    print(f"report: {result.report}")


def _study(backbone: str | None, slices: str | None, *, epochs: int = EPOCHS, **rest: Any) -> Any:
    from neuro.classify import DEFAULT_BACKBONE
    from neuro.study import StudyConfig
    from neuro.training import TrainingConfig

    return StudyConfig(
        backbone=backbone or DEFAULT_BACKBONE,
        slice_backbone=slices,
        training=TrainingConfig(epochs=epochs),
        **rest,
    )


def main() -> None:
    """Entry point of the console command."""
    run(app)


if __name__ == "__main__":
    main()
