"""What holds of a finished run of every kind of experiment, and of what is lost from it."""

import shutil

import pytest
from repo import PARALLEL, copy_of_results

SCALE = ("--configfile", "config/tiny.yaml")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("scale", ["tiny", "features"])
def test_every_file_of_a_run_is_put_in_place_whole(request, scale):
    """Whatever job is killed and when: a file under its own name is complete. The report's copy is the last job's, and made by `cp`."""
    finished = request.getfixturevalue(scale).path
    placed = set((finished / "watched/placed").read_text().splitlines())
    made = {str(path.relative_to(finished)) for path in (finished / "results").rglob("*") if path.is_file() and path.name != "lock"}
    made = {name for name in made if not name.startswith((f"results/{scale}/logs/", f"results/{scale}/benchmarks/"))}
    assert len(made) > 50
    assert made - placed == {"results/report/index.html"}
    assert not [name for name in made if ".part-" in name]


def test_a_second_run_has_nothing_to_do(tiny):
    assert tiny.planned(*SCALE) == []


def test_snakemakes_own_report_works(tiny, tmp_path):
    tiny.snakemake("--report", str(tmp_path / "report.html"), "--configfile", "config/tiny.yaml")
    assert "mak_gan_table1" in (tmp_path / "report.html").read_text()


# Rules whose jobs no other test kills, and files of one job of each.
HEADS = {
    "describe": ["mfdiff_mni/bids/dataset_description.json", "mfdiff_mni/bids/participants.tsv"],
    "media": ["positron_range/psf_sets/ga68_run2/media.h5"],
    "torso": [f"positron_range/torsos/ga68_torso/{name}" for name in ("activity.nii.gz", "mu.nii.gz", "lesions.nii.gz", "lesions.tsv")],
    "annihilate": ["positron_range/torsos/ga68_torso/chunk-1.h5"],
    "calibrate": ["positron_range/calibrations/fast_engine.json"],
    "prepare_acquisition": [f"mfdiff_mni/low/prepared/axial/sub-02r1/acquisition.{ending}" for ending in ("npy", "json")],
}
TAILS = {
    "merge_annihilations": ["positron_range/torsos/ga68_torso/annihilations-2.h5"],
    "truncation": ["positron_range/ddconv_experiment1/truncation.tsv"],
    "compare_kernels": [f"positron_range/ddconv_experiment1/kernels/ddconv_ga68/{name}" for name in ("distances.tsv", "kernels.h5")],
    "compare_torso": [f"positron_range/ddconv_experiment1/torso/{name}" for name in ("distances.tsv", "images.h5")],
    "correct_scan": ["positron_range/ddconv_experiment3/svtd/scan.nii.gz"],
    "profile_scan": ["positron_range/ddconv_experiment3/profiles.tsv"],
    "range_figure": ["figures/ddconv_experiment2-recovery.svg"],
    "figure": ["figures/mak_gan_figure3.svg"],
    "similarity": ["tables/m2diff_figure8.tsv"],
    "restore_context": ["mni/drf4/la_gan-first/context/fold-0.0/sub-01.npy"],
    "reliance": ["reliance/mak_gan_reliance/mni/drf4/mak_gan/fold-0.tsv"],
    "roc": ["figures/pcsa_gan_figure6.svg"],
}
KILLED = {*HEADS, *TAILS}


def test_jobs_of_all_other_kinds_are_killed_and_their_files_are_the_same(tiny, tmp_path):
    """First what others are made of, whose times are then put back, so that nothing is made again but what was lost."""
    repo = copy_of_results(tiny, tmp_path / "copy")
    for number, kinds in enumerate((HEADS, TAILS)):
        lost = [f"results/tiny/{name}" for names in kinds.values() for name in names]
        for name in lost:
            (repo.path / name).unlink()
        killed = repo.killed(tmp_path / f"struck-{number}", *PARALLEL, *SCALE, "--", *lost)
        assert killed == set(kinds)
        for name in lost:
            assert (repo.path / name).read_bytes() == (tiny.path / name).read_bytes(), name
            shutil.copystat(tiny.path / name, repo.path / name)
