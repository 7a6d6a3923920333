"""Where weights come from, and that none saw the subject they restore."""

import copy
from pathlib import Path

import pytest

from petbench.errors import InputError
from petbench.plan.lineage import Sample, Training, check_told, check_unseen, seen, starting_point, training_samples, weights_of
from petbench.workflow.entries import load
from petbench.workflow.schema import read_yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def entries():
    return copy.deepcopy(load(read_yaml(ROOT / "tests/config/features.yaml"), ROOT))


def own(method, fold="0"):
    return Training("mni", "drf4", method, fold)


def test_a_method_runs_with_its_own_weights_or_with_those_it_refers_to(entries):
    assert weights_of(entries, own("m_unet")) == own("m_unet")
    assert weights_of(entries, own("m_unet-dense")) == own("m_unet")
    assert weights_of(entries, own("m_unet-external")) == Training("external", "drf4", "m_unet", "all")


def test_starting_points_take_what_a_reference_omits_from_the_job(entries):
    assert starting_point(entries, own("m_unet")) is None
    entries["methods"]["m_unet-after_external"]["init_from"] = {"dataset": "external", "method": "m_unet", "fold": "all"}
    assert starting_point(entries, Training("mni", "drf25", "m_unet-after_external", "1")) == Training("external", "drf25", "m_unet", "all")


def test_mixed_training_reads_its_folds_subjects_and_all_of_the_other_set(entries):
    samples = training_samples(entries, own("m_unet-mixed"))
    assert len(samples) == 1 + 2
    assert {sample.dataset for sample in samples} == {"mni", "external"}


def test_training_also_on_its_own_set_at_another_dose_reads_no_test_subject(entries):
    entries["methods"]["m_unet-mixed"]["also_train_on"] = [{"dataset": "mni", "dose": "drf25"}]
    first, second = training_samples(entries, own("m_unet-mixed"))
    assert first.subject == second.subject
    assert {first.dose, second.dose} == {"drf4", "drf25"}
    check_unseen(entries, "m_unet-mixed", "mni", "drf4")


def test_what_weights_saw_includes_their_starting_point(entries):
    known = set(seen(entries, own("m_unet-after_external")))
    assert Sample("external", "drf4", "01") in known
    assert sum(sample.dataset == "mni" for sample in known) == 1


@pytest.mark.parametrize(
    ("method", "key", "reference"),
    [
        ("m_unet-after_external", "init_from", {"method": "m_unet", "fold": "all"}),
        ("m_unet-after_external", "init_from", {"method": "m_unet", "fold": "0"}),
        ("m_unet-external", "weights_of", {"method": "m_unet", "dose": "drf25", "fold": "all"}),
    ],
)
def test_weights_that_saw_the_subject_under_test_are_refused(entries, method, key, reference):
    check_unseen(entries, method, "mni", "drf4")
    entries["methods"][method][key] = reference
    with pytest.raises(InputError, match=r"tests subject .* were trained on"):
        check_unseen(entries, method, "mni", "drf4")
    if method == "m_unet-external":
        entries["methods"]["m_unet-fused"]["ensemble"] = ["m_unet", method]
        with pytest.raises(InputError, match="were trained on"):
            check_unseen(entries, "m_unet-fused", "mni", "drf4")


def rotate(entries, dataset):
    """Make every phantom of a data set two copies."""
    entry = entries["datasets"][dataset]
    entry["phantoms"] = {
        f"{phantom}r{copy}": {"phantom": phantom, "rotation_deg": 3.0 * copy} for phantom in entry["subjects"] for copy in (1, 2)
    }
    entry["subjects"] = list(entry["phantoms"])


def test_training_reads_all_copies_of_its_phantoms_and_none_of_the_tested(entries):
    rotate(entries, "mni")
    samples = {fold: {sample.subject for sample in training_samples(entries, own("m_unet", fold))} for fold in ("0", "1")}
    assert sorted(map(sorted, samples.values())) == [["01r1", "01r2"], ["02r1", "02r2"]]
    check_unseen(entries, "m_unet", "mni", "drf4")


def test_a_copy_of_a_phantom_that_was_seen_is_not_unseen(entries):
    for dataset in ("mni", "external"):
        entries["datasets"][dataset]["source"] = "brainweb"
    rotate(entries, "mni")
    entries["datasets"]["external"]["subjects"] = ["03", "04"]
    check_unseen(entries, "m_unet-external", "mni", "drf4")
    entries["datasets"]["external"]["subjects"] = ["03", "02"]
    with pytest.raises(InputError, match=r"tests subject '02r1' \(phantom '02'\), which its weights .* were trained on"):
        check_unseen(entries, "m_unet-external", "mni", "drf4")


def test_those_kept_for_validation_are_not_trained_on(entries):
    entries["datasets"]["mni"] |= {
        "subjects": ["01", "02", "03", "04"],
        "split": {"scheme": "holdout", "test": 1, "validation": 2, "seed": 0},
    }
    assert len(training_samples(entries, own("m_unet"))) == 1
    check_unseen(entries, "m_unet", "mni", "drf4")


def test_two_entries_that_read_one_folder_share_its_subjects(entries, tmp_path):
    for name in ("mni", "external"):
        entries["datasets"][name] |= {"source": "bids", "bids": str(tmp_path)}
    with pytest.raises(InputError, match="were trained on"):
        check_unseen(entries, "m_unet-external", "mni", "drf4")


def test_what_learns_from_the_diagnosis_needs_labelled_people_of_both_groups(entries):
    training, cohort = own("m_unet"), entries["datasets"]["mni"]
    check_told(entries, training)
    entries["methods"]["m_unet"]["train"]["supervision"] = ["diagnosis"]
    with pytest.raises(InputError, match=r"m_unet.yaml: train/supervision: .* data set 'mni' has none; give"):
        check_told(entries, training)
    cohort |= {"subjects": ["01", "02", "03"], "diagnosis": {"positive": "AD"}, "split": {"scheme": "leave_one_out"}}
    cohort["labels"] = {"01": "AD", "02": "AD", "03": "CN"}
    check_told(entries, training)
    with pytest.raises(InputError, match=r"mni.yaml: split: fold 2 trains 'm_unet', .* on patients alone; give fewer"):
        check_told(entries, own("m_unet", "2"))
