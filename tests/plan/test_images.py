"""Where images are: made by the workflow, a lab's own, a cohort's; and what PET made of MR reads."""

import pytest

from petbench.errors import InputError

from .entries import Untimed, dataset, job, plan, table


def lab(folder, **keys):
    for subject in ("01", "02"):
        for name in ("pet/sub-{}_rec-standard_pet", "pet/sub-{}_rec-quarter_pet", "anat/sub-{}_T1w"):
            path = folder / f"sub-{subject}" / f"{name.format(subject)}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    doses = {"drf4": {"rec": "quarter"}, "noisy": {"psnr": 16}}
    return dataset(source="bids", bids=str(folder), standard={"rec": "standard"}, subjects=["01", "02"], doses=doses, **keys)


def test_a_labs_images_are_read_where_they_lie_once_they_are_checked(tmp_path):
    own = plan({"one": table(["low_dose"], ("lab", "drf4"))}, datasets={"lab": lab(tmp_path)})
    own.images.check()
    assert own.images.pet("lab", "02", "drf4") == str(tmp_path / "sub-02/pet/sub-02_rec-quarter_pet.nii.gz")
    assert own.images.t1w("lab", "02") == str(tmp_path / "sub-02/anat/sub-02_T1w.nii.gz")
    assert len(own.images.to_check(job(dataset="lab"))) == 2 * 3
    assert own.images.preflight("lab") == "results/made_up/lab/preflight.json"
    assert isinstance(own.images.preflight("lab"), Untimed)
    assert own.images.descriptions() == []


def test_a_dose_that_a_lab_has_no_images_of_is_simulated(tmp_path):
    own = plan({"one": table(["low_dose"], ("lab", "noisy"))}, datasets={"lab": lab(tmp_path)})
    assert own.images.simulated("lab") == ["noisy"]
    assert own.images.pet("lab", "01", "noisy") == "results/made_up/lab/bids/sub-01/pet/sub-01_rec-noisy_pet.nii.gz"


def test_all_images_that_a_lab_lacks_are_named_at_once(tmp_path):
    entry = lab(tmp_path)
    for name in ("sub-01/anat/sub-01_T1w.nii.gz", "sub-02/pet/sub-02_rec-quarter_pet.nii.gz"):
        (tmp_path / name).unlink()
    with pytest.raises(InputError) as error:
        plan({"one": table(["low_dose"], ("lab", "drf4"))}, datasets={"lab": entry}).images.check()
    first, second = str(error.value).splitlines()
    assert "sub-01: has no T1w image" in first
    assert "sub-02: has no pet image with rec-quarter" in second


def test_phantoms_are_made_described_and_need_no_check():
    own = plan({"one": table(["low_dose"], ("mni", "drf4"))}, datasets={"mni": dataset()})
    wanted = job(dataset="mni", subject="01", dose="drf4")
    assert own.images.preflight("mni") == []
    assert own.images.fixed(wanted) == "results/made_up/mni/bids/sub-01/pet/sub-01_rec-standard_pet.nii.gz"
    assert own.images.descriptions() == [f"results/made_up/mni/bids/{name}" for name in ("dataset_description.json", "participants.tsv")]
    assert set(own.images.to_normalise(wanted)) == {"t1w", "preflight", "labels", "truth"}


def test_the_split_waits_for_everybody_but_those_kept_for_validation():
    held = dataset(split={"scheme": "holdout", "test": 1, "validation": 1, "seed": 0})
    registered = plan({"one": table(["low_dose"], ("mni", "drf4"))}, datasets={"mni": held}).images.registered(job(dataset="mni"))
    assert len(registered) == 2
    assert all(isinstance(path, Untimed) for path in registered)


def test_a_cohort_has_its_table_of_images_and_subjects_without_pet():
    images = {subject: {"pet": f"adni/{subject}_pet.nii", "t1w": f"adni/{subject}_mr.nii"} for subject in ("01", "02", "03")}
    images["09"] = {"t1w": "adni/09_mr.nii"}
    cohort = dataset(source="table", table="adni/adni.csv", images=images, mr_only=["09"], doses={})
    cohort["preprocess"]["structural"] = {}
    own = plan({"one": table(["made"], ("cohort", "none"))}, datasets={"cohort": cohort})
    own.images.check()
    assert own.images.alone(job(dataset="cohort")) == ["adni/09_mr.nii"]
    assert own.images.standard_dose(job(dataset="cohort", subject="02")) == "adni/02_pet.nii"
    assert own.images.source("cohort", "02", "none").endswith("sub-02_space-MNI152_label-GM_probseg.nii.gz")
    assert own.images.reference("cohort", "02").endswith("sub-02_space-MNI152_pet.nii.gz")
    assert "/mr_only/sub-09/" in own.images.prepared("cohort", "none", "patches", "09")
    assert "/mr_only/" not in own.images.prepared("cohort", "none", "patches", "02")
    assert not own.images.has_truth("cohort")


def test_a_dose_is_reconstructed_from_the_standard_scan_or_from_one_of_its_own():
    doses = {"thin": {"drf": 4}, "own": {"counts": 1000.0, "draw": "independent", "reconstruction": {"iterations": 9}}}
    own = plan({"one": table(["low_dose"], ("mni", "thin"))}, datasets={"mni": dataset(doses=doses)}, scanners={"tiny": {"image": 1}})
    scans = {dose: own.acquisition.acquired(job(dataset="mni", subject="01", dose=dose)) for dose in ("thin", "own", "standard")}
    assert {dose: path.split("_acq-")[1] for dose, path in scans.items()} == {
        "thin": "standard.h5",
        "own": "own.h5",
        "standard": "standard.h5",
    }
    assert own.acquisition.reconstruction(job(dataset="mni", dose="own")) == {"iterations": 9}
    assert own.acquisition.reconstruction(job(dataset="mni", dose="thin")) == {"iterations": 2}
    assert own.acquisition.dose(job(dataset="mni", dose="own")) == {"counts": 1000.0, "draw": "independent"}


def test_data_sets_of_brainweb_agree_where_models_come_from_and_a_labs_own_file_is_taken(tmp_path):
    one = dataset(source="brainweb", brainweb={"folder": str(tmp_path), "lesions": 1}, subjects=["04", "05"])
    other = dataset(source="brainweb", brainweb={"folder": str(tmp_path), "url": "http://mirror"}, subjects=["04", "06"])
    (tmp_path / "subject_04.bin.gz").touch()
    own = plan({"one": table(["low_dose"], ("one", "drf4"))}, datasets={"one": one}).acquisition
    assert own.model_file(job(dataset="one", subject="04")) == str(tmp_path / "subject_04.bin.gz")
    fetched = own.model_file(job(dataset="one", subject="05"))
    assert fetched == "results/downloads/brainweb/subject_05.bin.gz"
    assert isinstance(fetched, Untimed)
    assert own.head(job(dataset="one")) == {"lesions": 1}
    both = plan({"one": table(["low_dose"], ("one", "drf4"))}, datasets={"one": one, "other": other}).acquisition
    with pytest.raises(InputError, match="brainweb/url: the data sets of BrainWeb models differ"):
        both.model_source(job(model="04"))
