"""`neuro train`: train the brain Transformer on a whole cohort, for `neuro predict`."""

from __future__ import annotations

from neuro.commands.options import BackboneName, CacheFolder, Device, Epochs, Out, Seed, study_config
from neuro.defaults import EPOCHS


def train(
    cache: CacheFolder,
    out: Out,
    backbone: BackboneName = None,
    epochs: Epochs = EPOCHS,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train the brain Transformer on a whole cohort, for `neuro predict`."""
    from rich.console import Console
    from rich.progress import Progress

    from data.caches.cache import Cache
    from data.writing import require_new_or_empty
    from neuro.run_folder import save_run
    from neuro.study import cut_runs, labels_and_people

    config = study_config(backbone, None, epochs=epochs, seed=seed, device=device)
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
