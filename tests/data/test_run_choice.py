"""One image for each scan, all of a kind."""

from __future__ import annotations

from pathlib import Path

from data.cohorts.run_choice import choose
from data.scans.bids import RunFiles, parse_entities


def run(name: str, mask: bool = True, dataset: str = "") -> RunFiles:
    """The run of such a file's name; `-` at its end stands for a scan without an image."""
    entities = parse_entities(name)[0]
    desc = entities.pop("desc", "preproc")
    bold = None if name.endswith("-") else Path(name)
    return RunFiles(
        entities=entities, bold=bold, mask=Path("mask") if mask else None, desc=desc, dataset=dataset
    )


def chosen(*names: str) -> tuple[list[str], dict[str, str]]:
    kept, excluded = choose([run(name) for name in names])
    return [str(one.bold) for one in kept], dict(excluded)


def test_single_echoes_are_left_out_whether_or_not_they_are_combined():
    combined = "sub-01_task-rest_space-MNI_desc-preproc_bold.nii.gz"
    echoes = [f"sub-{s}_task-rest_echo-{e}_desc-preproc_bold.nii.gz" for s in ("01", "02") for e in (1, 2)]
    kept, excluded = chosen(combined, *echoes)
    assert kept == [combined]
    assert list(excluded) == echoes
    assert excluded[echoes[0]] == f"echo 1 by itself; the combination of the echoes is there ({combined})"
    assert excluded[echoes[3]].startswith("echo 2 by itself; no combination of the echoes is there: let fMRI")


def test_what_was_only_preprocessed_is_wanted_before_what_was_denoised():
    names = [f"sub-01_task-rest_space-MNI_desc-{desc}_bold.nii.gz" for desc in ("denoised", "preproc")]
    other = "sub-02_task-rest_space-MNI_desc-denoised_bold.nii.gz"
    kept, excluded = chosen(*names, other)
    assert kept == [names[1]]
    assert excluded == dict.fromkeys([names[0], other], "desc-denoised; the cohort uses desc-preproc")


def test_of_a_denoised_derivative_the_unsmoothed_run_is_taken_and_the_made_up_one_never():
    names = [
        f"sub-01_task-rest_space-MNI_desc-{desc}_bold.nii.gz"
        for desc in ("denoised", "denoisedSmoothed", "interpolated")
    ]
    kept, excluded = chosen(*names)
    assert kept == names[:1]
    assert excluded[names[1]] == "desc-denoisedSmoothed; the cohort uses desc-denoised"
    assert "interpolation" in excluded[names[2]]
    assert chosen(names[2]) == ([], {names[2]: excluded[names[2]]})


def test_runs_joined_end_to_end_are_left_out_beside_their_parts():
    names = [
        f"sub-01_task-rest_{part}space-MNI_desc-denoised_bold.nii.gz" for part in ("run-1_", "run-2_", "")
    ]
    kept, excluded = chosen(*names)
    assert kept == names[:2]
    assert excluded == {names[2]: "joined end to end from 2 runs that are there by themselves"}
    assert chosen(names[2])[0] == [names[2]]
    # fMRIPrep joins nothing: there a run without a number is one more.
    assert len(chosen(*(name.replace("denoised", "preproc") for name in names))[0]) == 3


def test_one_space_and_one_resolution_for_all():
    names = [
        f"sub-0{s}_task-rest_space-{space}_desc-preproc_bold.nii.gz"
        for s, space in [(1, "T1w"), (1, "MNI152NLin6Asym"), (2, "T1w"), (3, "T1w")]
    ]
    kept, excluded = chosen(*names)
    assert kept == [names[1]]
    assert excluded[names[2]] == "space T1w; the cohort uses MNI152NLin6Asym"
    names = [
        f"sub-0{s}_task-rest_space-X_res-{res}_desc-preproc_bold.nii.gz"
        for s, res in [(1, 1), (1, 2), (2, 2), (3, "native")]
    ]
    kept, excluded = chosen(*names)
    assert kept == names[1:3]
    assert excluded == {
        names[0]: "resolution 1; the cohort uses 2",
        names[3]: "resolution native; the cohort uses 2",
    }


def test_unknown_spaces_are_named_so():
    kept, excluded = chosen(
        "sub-01_task-rest_desc-preproc_bold.nii.gz", "sub-02_task-rest_space-T1w_desc-preproc_bold.nii.gz"
    )
    assert len(kept) == 1
    assert list(excluded.values()) == ["space native; the cohort uses T1w"]


def test_scans_without_an_image_stay_to_be_told_once():
    kept, excluded = choose(
        [
            run("sub-01_task-rest_-"),
            run("sub-01_task-rest_space-T1w_-"),
            run("sub-02_task-rest_desc-preproc_b"),
        ]
    )
    assert [one.run_id for one in kept] == ["sub-01_task-rest", "sub-02_task-rest"]
    assert excluded == []


def test_runs_of_two_datasets_do_not_meet():
    name = "sub-01_task-rest_space-X_desc-preproc_bold.nii.gz"
    kept, excluded = choose([run(name, dataset="A"), run(name, dataset="B")])
    assert [one.run_id for one in kept] == ["A_sub-01_task-rest", "B_sub-01_task-rest"]
    assert excluded == []
    other = name.replace("-X", "-Y")
    _, excluded = choose([run(name, dataset="A"), run(name, dataset="B"), run(other, dataset="B")])
    assert [what for what, _ in excluded] == [f"B/{other}"]
