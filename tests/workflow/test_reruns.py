"""What a change reruns, and what it leaves alone. Every case is a dry run in a copy of a finished run."""

import os

import pytest

SCALE = ("--configfile", "tests/config/features.yaml")
M_UNETS = {"m_unet", "m_unet-after_external", "m_unet-mixed"}
pytestmark = pytest.mark.slow


def trained(jobs):
    return {wildcards["method"] for rule, wildcards in jobs if rule == "train"}


def test_a_second_run_has_nothing_to_do(features):
    assert features.planned(*SCALE) == []


def test_a_fresh_checkout_a_docstring_and_another_methods_network_rerun_nothing(changed):
    for folder in ("src", "scripts", "rules", "config", "tests"):
        for path in (changed.path / folder).rglob("*"):
            os.utime(path)
    changed.edit("src/petbench/networks/unet.py", "as a regression network", "as a network for regression")
    changed.edit("src/petbench/networks/mak_generator.py", "class MAKGenerator", "UNUSED = 0\n\n\nclass MAKGenerator")
    assert changed.planned(*SCALE) == []


def test_docstrings_comments_and_titles_rerun_no_stage(changed):
    changed.edit("src/petbench/networks/unet.py", "as a regression network", "as a network for regression")
    changed.edit("src/petbench/evaluation/metrics.py", "import", "# a comment\nimport")
    changed.edit("config/methods/m_unet.yaml", "title: M-UNet", "title: Multi-contrast U-Net")
    # a title is printed in the tables and on the page: these alone are written anew
    assert changed.rules(*SCALE) <= {"table", "page", "latest"}


def test_a_scanners_views_make_new_scans_of_the_same_heads(changed):
    changed.edit("config/scanners/tiny.yaml", "views: 48", "views: 44")
    rules = changed.rules(*SCALE)
    assert {"simulate", "reconstruct"} <= rules
    assert "acquire" not in rules


def test_a_learning_rate_reruns_its_method_and_those_that_hang_on_it(changed):
    changed.edit(
        "tests/config/features.yaml",
        "m_unet: {train: {",
        "m_unet-mixed: {train: {optimiser: {restorer: {lr: 3.0e-4}}}}\n    m_unet: {train: {",
    )
    jobs = changed.planned(*SCALE)
    assert trained(jobs) == {"m_unet-mixed"}
    assert {wildcards["method"] for rule, wildcards in jobs if rule in ("restore_subject", "fuse")} == {"m_unet-mixed", "m_unet-fused"}
    assert {rule for rule, _ in jobs} == {"train", "restore_subject", "fuse", "evaluate", "table", "page", "latest"}


def test_a_parents_learning_rate_reruns_those_that_extend_start_from_or_reuse_it(changed):
    changed.edit("tests/config/features.yaml", "m_unet: {train: {", "m_unet: {train: {optimiser: {restorer: {lr: 3.0e-4}}, ")
    jobs = changed.planned(*SCALE)
    assert trained(jobs) == M_UNETS
    assert {wildcards["method"] for rule, wildcards in jobs if rule == "restore_subject"} == {*M_UNETS, "m_unet-external", "m_unet-dense"}
    assert not {"acquire", "simulate", "reconstruct", "register", "prepare"} & {rule for rule, _ in jobs}


def test_a_restore_key_retrains_nothing(changed):
    changed.edit("tests/config/methods/m_unet-dense.yaml", "[8, 8, 8]", "[4, 8, 8]")
    jobs = changed.planned(*SCALE)
    assert trained(jobs) == set()
    assert {wildcards["method"] for rule, wildcards in jobs if rule == "restore_subject"} == {"m_unet-dense"}


def test_a_changed_metric_evaluates_again_and_trains_nothing(changed):
    changed.edit("src/petbench/evaluation/metrics.py", "10 * ", "10.0 * ")
    assert changed.rules(*SCALE) == {"evaluate", "table", "page", "latest"}


def test_a_changed_network_retrains_its_methods(changed):
    changed.edit("src/petbench/networks/unet.py", "self.factor = ", "self.unused = 0\n        self.factor = ")
    jobs = changed.planned(*SCALE)
    assert trained(jobs) == M_UNETS
    assert not {"acquire", "simulate", "reconstruct", "register", "prepare"} & {rule for rule, _ in jobs}


@pytest.fixture
def few(tmp_path):
    """Fewer people in the cohort, which would be two thirds of all jobs to plan."""
    (tmp_path / "few.yaml").write_text("override: {datasets: {ad_mni: {subjects: 30, mr_only: 30}}}")
    return str(tmp_path / "few.yaml")


def test_the_demo_and_the_small_scale_dry_run(features, few):
    some = ("--config", "run=[mak_gan_table1,m2diff_table1,mfdiff_table2,pcsa_gan_table3,ddconv_experiment2]")
    for scale in ("config/config.yaml",), ("config/small.yaml", few, *some):
        assert {"acquire", "train", "restore_subject", "evaluate", "page"} <= features.rules("--configfile", *scale)


def test_the_paper_scale_is_the_full_study(features, few):
    jobs = features.planned("--configfile", "config/paper.yaml", few)
    assert {"acquire", "train", "restore_subject", "evaluate", "page"} <= {rule for rule, _ in jobs}
    trainings = [wildcards for rule, wildcards in jobs if rule == "train" and wildcards["dataset"] == "mni"]
    of_table1 = [wildcards for wildcards in trainings if wildcards["method"] in ("mak_gan", "m_unet")]
    assert len(of_table1) == 2 * 2 * 16  # two methods, two doses, sixteen folds
    assert {wildcards["fold"] for wildcards in of_table1} == {str(fold) for fold in range(16)}


def test_targets_exist_for_experiments_papers_tables_and_report(changed):
    (changed.path / "results/features/tables/drill.md").unlink()
    for target in ("drill", "mak_gan", "tables"):
        assert changed.rules(target, *SCALE) - {target} == {"table"}, target
    (changed.path / "results/report/index.html").unlink()
    assert changed.rules("report", *SCALE) == {"latest"}
