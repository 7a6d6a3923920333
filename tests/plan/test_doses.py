"""Trained at one dose, tested at every dose: whose weights restore whom, and that one row alone is trained for it."""

import pytest

from petbench.plan.lineage import training_samples
from petbench.plan.plan import Plan
from petbench.preprocess.splits import people_of, train_subjects
from petbench.workflow.entries import load
from petbench.workflow.library import merge
from petbench.workflow.schema import read_yaml

from .entries import ROOT, Untimed, job

ROWS = {"m_unet-by_drf4": ("drf4", "m_unet"), "m_unet-by_drf25": ("drf25", "m_unet"), "m_unet-by_all_doses": ("drf4", "m_unet-all_doses")}
DOSES = ("drf4", "drf25")


def planned(*run):
    return Plan(load(merge(read_yaml(ROOT / "config/small.yaml"), {"run": list(run)}), ROOT), {}, ROOT, Untimed)


@pytest.fixture(scope="module")
def doses():
    return planned("mak_gan_doses")


@pytest.mark.parametrize("tested", DOSES)
@pytest.mark.parametrize("row", ROWS)
def test_a_row_restores_each_dose_by_weights_of_its_own(doses, row, tested):
    subject = doses.subjects.tested("mni")[0]
    given = doses.trainings.to_restore(job(dataset="mni", dose=tested, method=row, subject=subject))
    dose, method = ROWS[row]
    fold = doses.subjects.fold_of("mni", subject)
    assert given["weights"].endswith(f"mni/{dose}/{method}/fold-{fold}/model.safetensors")
    assert f"/mni/{tested}/prepared/" in given["prepared"]


def test_nothing_is_trained_for_it_but_the_row_of_all_doses(doses):
    rows_of = {"mak_gan_doses": list(ROWS), "mak_gan_table1": ["m_unet"]}

    def trained(plan, name):
        rows = [(column["dataset"], column["dose"], row) for column in plan.scale.experiments[name]["columns"] for row in rows_of[name]]
        return {training for place in rows for training in plan.trainings.behind(*place)}

    own = trained(doses, "mak_gan_doses") - trained(planned("mak_gan_table1"), "mak_gan_table1")
    assert {(training.dose, training.method) for training in own} == {("drf4", "m_unet-all_doses")}
    assert len(own) == len(doses.subjects.folds("mni"))


def test_the_row_of_all_doses_sees_the_folds_people_at_every_dose_and_nobody_tested(doses):
    entry = doses.scale.datasets["mni"]
    for training in doses.trainings.behind("mni", "drf25", "m_unet-by_all_doses"):
        people = train_subjects(people_of(entry), entry["split"], training.fold)
        samples = {(sample.dose, sample.subject) for sample in training_samples(doses.scale.entries, training)}
        assert samples == {(dose, subject) for dose in DOSES for subject in people}
        assert not set(people) & set(doses.subjects.folds("mni")[training.fold])
