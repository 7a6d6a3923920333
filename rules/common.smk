"""Configuration to wildcard values, and the helpers that rules share. No rules."""

import os
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from petbench.data.bids import find_image, find_subjects
from petbench.data.brainweb import FOLDER, MODELS, file_name, hand_placed
from petbench.data.brainweb_download import URL
from petbench.errors import InputError
from petbench.evaluation.definitions import MR_ALONE, STANDARD_ROW, STUDIES, TIMED
from petbench.files import checksum, digest
from petbench.physics.doses import STANDARD as STANDARD_DOSE
from petbench.physics.doses import check_doses, is_independent
from petbench.physics.scanner import Scanner
from petbench.positron_range.study import STRATEGIES
from petbench.preprocess.splits import (
    ALL,
    another,
    fold_testing,
    folds,
    people_of,
    subjects_tested,
    validation_subjects,
)
from petbench.report.notes import scale_notes
from petbench.report.places import places_of, through_lesions
from petbench.report.provenance import numbered
from petbench.report.range_figures import FIGURES as RANGE_FIGURES
from petbench.workflow.clock import future_files
from petbench.workflow.code import PACKAGE, code_hash
from petbench.workflow.entries import LOW_DOSE, NO_DOSE, STANDARD, UNRESTORED, methods_of, wildcard_choice
from petbench.workflow.lineage import (
    Training,
    check_study,
    check_unseen,
    starting_point,
    study_of,
    training_samples,
    weights_of,
)
from petbench.workflow.range_entries import RANGE_KINDS
from petbench.workflow.runtime import evaluated_slices, restoring_minutes, scan_minutes

# Trainings, and what they wait for, go before all that is ready beside them: begun late, they would end a run alone.
EARLY = 1
RUN = ENTRIES["run"]
DATASETS, METHODS = ENTRIES["datasets"], ENTRIES["methods"]
RANGE = {name: entry for name, entry in ENTRIES["experiments"].items() if entry["kind"] in RANGE_KINDS}
EXPERIMENTS = {name: entry for name, entry in ENTRIES["experiments"].items() if name not in RANGE}
MEDIA_KEYS = ["materials", "size", "voxel_mm", "media"]
PSF_SETS, PREDICTORS, TORSOS = ENTRIES["psf_sets"], ENTRIES["predictors"], ENTRIES["torsos"]
PHANTOMS = [name for name, entry in DATASETS.items() if entry["source"] in ("phantom", "brainweb")]
LABS = [name for name in DATASETS if name not in PHANTOMS]
SYNTHETIC = [name for name, entry in DATASETS.items() if "structural" in entry["preprocess"]]  # their PET is made of MR
TRAINED = [name for name, entry in METHODS.items() if "train" in entry]
FUSED = [name for name, entry in METHODS.items() if "ensemble" in entry]
FIGURES = [
    name for name, entry in EXPERIMENTS.items() if entry["kind"] in ("figure", "roc", "similarity") or "views" in entry
]
DIAGNOSES = [name for name, entry in EXPERIMENTS.items() if entry["kind"] in STUDIES]
IMAGED = [name for name in EXPERIMENTS if name not in DIAGNOSES]
CLASSIFIERS = ENTRIES["classifiers"]
MAPS = [name for name, entry in EXPERIMENTS.items() if entry["kind"] == "similarity"]
TABULATED = [name for name in IMAGED if name not in MAPS]
RELIANCES = [name for name, entry in EXPERIMENTS.items() if entry["kind"] == "reliance"]
PAPERS = {name: ENTRIES["experiments"][name]["paper"] for name in RUN}
TARGETS = {name: [name] for name in RUN} | {
    paper: [name for name in RUN if PAPERS[name] == paper] for paper in dict.fromkeys(PAPERS.values())
}


def stop(error):
    """End with a user's one line, not with a traceback."""
    sys.exit(f"petbench: {error}")


def folds_studied(column):
    """Folds whose classifiers a column of a diagnosis shows: one trained on everybody where those with MR only are tested."""
    entry = DATASETS[column["dataset"]]
    return [ALL] if column["study"] == "mr_only" else folds(people_of(entry), entry["split"])


def study_folds():
    """Data set, classifier and fold of each classification that some experiment shows, once."""
    found = {}
    for name in DIAGNOSES:
        for column in EXPERIMENTS[name]["columns"]:
            for fold in folds_studied(column):
                found[column["dataset"], EXPERIMENTS[name]["classifier"], fold] = None
    return list(found)


@cache
def study_rows(dataset, classifier):
    """Rows of all experiments that a data set is studied in with a classifier, so that one job serves them all."""
    rows = {}
    for name in DIAGNOSES:
        if EXPERIMENTS[name]["classifier"] == classifier:
            if any(column["dataset"] == dataset for column in EXPERIMENTS[name]["columns"]):
                rows |= dict.fromkeys(EXPERIMENTS[name]["rows"])
    return sorted(rows)


@cache
def study_in(dataset, classifier, fold):
    """One fold of a diagnosis study."""
    rows, train_pet = study_rows(dataset, classifier), CLASSIFIERS[classifier]["train_pet"]
    return study_of(ENTRIES, dataset, NO_DOSE, rows, train_pet, fold)


STUDY_FOLDS = study_folds()


def prove_unseen():
    """No subject of any table is restored by weights that saw it."""
    try:
        for experiment in EXPERIMENTS.values():
            for column in experiment["columns"]:
                for method in set(methods_of(experiment)).difference(UNRESTORED):
                    check_unseen(ENTRIES, method, column["dataset"], column["dose"])
        for dataset, classifier, fold in STUDY_FOLDS:
            check_study(ENTRIES, dataset, NO_DOSE, study_in(dataset, classifier, fold))
    except InputError as error:
        stop(error)


def check_scans():
    """Every scanner can record and reconstruct all doses of its data sets."""
    for name, entry in DATASETS.items():
        simulated = {
            dose: block for dose, block in entry["doses"].items() if "rec" not in block and "psnr" not in block
        }
        try:
            if "simulation" in entry:
                scanner = Scanner.from_entry(ENTRIES["scanners"][entry["scanner"]])
                check_doses(simulated, entry["simulation"], entry["reconstruction"], scanner)
        except InputError as error:
            stop(f"data set {name}: {error}")


def check_images():
    """Every image of a lab's data sets is there, and one only; those of a cohort were found with its labels."""
    missing = []
    for dataset in LABS:
        entry = DATASETS[dataset]
        if "images" in entry:
            continue
        recs = [(entry["standard"] if dose == STANDARD else entry["doses"][dose])["rec"] for dose in lab_doses(dataset)]
        for subject in entry["subjects"]:
            for kind, rec in [("T1w", None), *(("pet", rec) for rec in recs)]:
                try:
                    find_image(entry["bids"], f"sub-{subject}", kind, rec)
                except InputError as error:
                    missing.append(str(error))
    if missing:
        stop("\n".join(dict.fromkeys(missing)))


def lab_doses(dataset):
    """Doses that a lab's data set has images of."""
    return [STANDARD, *(dose for dose, block in DATASETS[dataset]["doses"].items() if "rec" in block)]


def warn_of_the_future():
    """Say it where results seem newer than they can be: jobs that read them would be repeated until that time has come."""
    found = future_files(f"results/{ENTRIES['scale']}")
    if found:
        print(
            f"petbench: {len(found)} files are dated in the future, such as {found[0]}: a machine's clock is wrong. Jobs that"
            " read them will fail; set the clock, then `touch` these files and run again.",
            file=sys.stderr,
        )


def check_writable():
    """Results can be written, and none lies on a disk that cannot: Snakemake itself would end in a traceback."""
    results = f"results/{ENTRIES['scale']}"
    for folder, _, _ in os.walk(results):
        if os.statvfs(folder).f_flag & os.ST_RDONLY or (folder == results and not os.access(folder, os.W_OK)):
            stop(f"{folder}: cannot be written; mend its permissions or its mount, then run again.")


prove_unseen()
check_scans()
check_images()


wildcard_constraints:
    dataset=wildcard_choice(DATASETS),
    dose=wildcard_choice({dose for entry in DATASETS.values() for dose in [*entry["doses"], STANDARD]} | {NO_DOSE}),
    subject="[A-Za-z0-9]+",
    method=wildcard_choice([*METHODS, *UNRESTORED]),
    fold=r"\d+(-\d+)?|all",
    classifier=wildcard_choice(CLASSIFIERS),
    domain="[a-z0-9]+",
    experiment=wildcard_choice(EXPERIMENTS),
    psf_set=wildcard_choice(PSF_SETS),
    predictor=wildcard_choice(PREDICTORS),
    torso=wildcard_choice(TORSOS),
    strategy=wildcard_choice(STRATEGIES),
    chunk=r"\d+",
    realisation=r"\d+",


def code_of(script, modules=lambda wildcards: []):
    """A function of wildcards that hashes a rule's script, with all that it imports and the modules of `methods` that it finds by name."""

    hashed = cache(code_hash)

    def of(wildcards):
        names = [f"petbench.methods.{module}" for module in modules(wildcards)]
        return hashed(os.path.join(workflow.basedir, "scripts", f"{script}.py"), *names)

    return of


def scaled(amount):
    """Memory or minutes: a rule's figure at the paper's scale, times the scale's factor, more at each attempt."""

    def of(wildcards, attempt):
        return max(1, int(amount * config.get("resource_factor", 1.0) * attempt))

    return of


def at_most(threads):
    """A rule's threads, or the scale's limit: where networks and images are small, two jobs beside each other are faster than one on two."""
    return min(threads, config.get("max_threads", threads))


def group_of(wildcards):
    """Whether a phantom is a patient or a control."""
    entry = DATASETS[wildcards.dataset]
    ill = "labels" in entry and entry["labels"][wildcards.subject] == entry["diagnosis"]["positive"]
    return "patient" if ill else "control"


def everybody(wildcards):
    """All subjects of a data set, those with MR only last."""
    entry = DATASETS[wildcards.dataset]
    return [*entry["subjects"], *entry.get("mr_only", [])]


def subject_seed(wildcards):
    """A seed of its own for each subject of each data set."""
    return int(digest([DATASETS[wildcards.dataset]["seed"], wildcards.dataset, wildcards.subject])[:8], 16)


def phantom_seed(wildcards):
    """The seed of a subject's anatomy and MR: rotated copies of a phantom share it."""
    phantom = copy_of(wildcards)["phantom"]
    return int(digest([DATASETS[wildcards.dataset]["seed"], wildcards.dataset, phantom])[:8], 16)


# Heads of phantoms.
def copy_of(wildcards):
    """The phantom that a subject is, and how far its head is turned."""
    whole = {"phantom": wildcards.subject, "rotation_deg": 0.0}
    return DATASETS[wildcards.dataset].get("phantoms", {}).get(wildcards.subject, whole)


def head_of(wildcards):
    """The block that the head is made from, without what is said of downloads: another mirror makes no other head."""
    entry = DATASETS[wildcards.dataset]
    return {key: value for key, value in entry[entry["source"]].items() if key not in ("url", "folder", "sha256")}


def model_of(wildcards):
    """Number and expected checksum of the BrainWeb model that a subject is made of; None for other phantoms."""
    entry = DATASETS[wildcards.dataset]
    if entry["source"] != "brainweb":
        return None
    number = copy_of(wildcards)["phantom"]
    return {"number": number, "sha256": entry["brainweb"].get("sha256", {}).get(number)}


def model_file(wildcards):
    """The file of that model: a lab's own, or the one to fetch, whose time does not count."""
    model = model_of(wildcards)
    if model is None:
        return []
    folder = DATASETS[wildcards.dataset]["brainweb"].get("folder", FOLDER)
    try:
        placed = hand_placed(folder, model["number"])
    except InputError as error:
        stop(error)
    return str(placed) if placed else ancient(f"results/downloads/brainweb/{file_name(model['number'])}")


def brainweb_source(wildcards):
    """Where a model is fetched from; one download serves all data sets and scales, so that they must agree."""
    blocks = [entry["brainweb"] for entry in DATASETS.values() if entry["source"] == "brainweb"]
    found = [
        {
            "url": block.get("url", URL),
            "sha256": block.get("sha256", {}).get(wildcards.model),
            "folder": block.get("folder", FOLDER),
        }
        for block in blocks
    ]
    for key in ["url", "sha256"]:
        if len({source[key] for source in found}) > 1:
            stop(f"brainweb/{key}: the data sets of BrainWeb models differ in it; give all of them the same.")
    return found[0]


def of_dataset(*keys):
    """A function of wildcards that takes blocks of the data set's entry."""

    def of(wildcards):
        entry = DATASETS[wildcards.dataset]
        for key in keys:
            entry = entry[key.format(**wildcards)]
        return entry

    return of


def of_method(*keys):
    """A function of wildcards that takes blocks of the method's entry; Snakemake's `lookup` would search all entries for each job."""

    def of(wildcards):
        entry = METHODS[wildcards.method]
        for key in keys:
            entry = entry[key]
        return entry

    return of


def scanner_of(wildcards):
    """The entry of the data set's scanner."""
    return ENTRIES["scanners"][DATASETS[wildcards.dataset]["scanner"]]


def dose_of(wildcards):
    """What the dose is, without its differences from the data set's blocks; the standard dose has all counts."""
    block = DATASETS[wildcards.dataset]["doses"].get(wildcards.dose, STANDARD_DOSE)
    return {key: value for key, value in block.items() if key not in ("simulation", "reconstruction")}


def of_dose(key):
    """A function of wildcards that takes a block of the data set's entry with the differences of the dose."""

    def of(wildcards):
        entry = DATASETS[wildcards.dataset]
        return entry[key] | entry["doses"].get(wildcards.dose, {}).get(key, {})

    return of


def acquisition_of(wildcards):
    """The scan that a dose is reconstructed from: its own if drawn independently, else that of the standard dose."""
    scan = wildcards.dose if is_independent(dose_of(wildcards)) else STANDARD
    return f"<results>/{wildcards.dataset}/acquisition/sub-{wildcards.subject}_acq-{scan}.h5"


def gpu_of_reconstruction(wildcards):
    """GPUs that a reconstruction takes."""
    return int(of_dose("reconstruction")(wildcards).get("device") == "cuda")


# Images of a subject: the workflow's own for phantoms, the lab's where they lie for a BIDS data set.
def pet_image(dataset, subject, dose):
    """Path of a subject's PET image at a dose."""
    if dataset in PHANTOMS or dose in simulated_doses(dataset):
        return f"<results>/{dataset}/bids/sub-{subject}/pet/sub-{subject}_rec-{dose}_pet.nii.gz"
    entry = DATASETS[dataset]
    if "images" in entry:
        return entry["images"][subject]["pet"]
    return user_image(dataset, subject, "pet", (entry["standard"] if dose == STANDARD else entry["doses"][dose])["rec"])


def simulated_doses(dataset):
    """Low doses that are simulated: all of a phantom's, and those that a lab's data set has no images of."""
    return [dose for dose, block in DATASETS[dataset]["doses"].items() if "rec" not in block]


def t1w_image(dataset, subject):
    """Path of a subject's T1-weighted image in its own space."""
    if dataset in PHANTOMS:
        return f"<results>/{dataset}/bids/sub-{subject}/anat/sub-{subject}_T1w.nii.gz"
    if "images" in DATASETS[dataset]:
        return DATASETS[dataset]["images"][subject]["t1w"]
    return user_image(dataset, subject, "T1w", None)


def user_image(dataset, subject, kind, rec):
    """Path of an image in a lab's own BIDS data set; a missing one ends the run in one line."""
    try:
        return str(find_image(DATASETS[dataset]["bids"], f"sub-{subject}", kind, rec))
    except InputError as error:
        stop(error)


def preflight_of(dataset):
    """The record that a lab's own images were checked; phantoms need none."""
    return [] if dataset in PHANTOMS else ancient(f"<results>/{dataset}/preflight.json")


def preflight_images(wildcards):
    """All images of a BIDS data set, by subject and kind."""
    entry = DATASETS[wildcards.dataset]
    return [
        image
        for subject in entry["subjects"]
        for image in [
            t1w_image(wildcards.dataset, subject),
            *(pet_image(wildcards.dataset, subject, dose) for dose in lab_doses(wildcards.dataset)),
        ]
    ]


def preflight_alone(wildcards):
    """MR of the subjects of a cohort that have no PET."""
    return [t1w_image(wildcards.dataset, subject) for subject in DATASETS[wildcards.dataset].get("mr_only", [])]


def registration_images(wildcards):
    """The PET image that a subject's MR is registered to, and the MR."""
    fixed = DATASETS[wildcards.dataset]["preprocess"]["registration"]["fixed"]
    return {
        "pet": pet_image(wildcards.dataset, wildcards.subject, fixed),
        "mr": t1w_image(wildcards.dataset, wildcards.subject),
        "preflight": preflight_of(wildcards.dataset),
    }


def subject_images(wildcards):
    """Low dose, standard dose and registered MR of a subject."""
    return {
        "low_dose": pet_image(wildcards.dataset, wildcards.subject, wildcards.dose),
        "standard_dose": pet_image(wildcards.dataset, wildcards.subject, STANDARD),
        "mr": registered_mr(wildcards.dataset, wildcards.subject),
    }


def registered_mr(dataset, subject):
    """Path of a subject's MR on its PET grid."""
    return f"<results>/{dataset}/registered/sub-{subject}/sub-{subject}_space-pet_T1w.nii.gz"


def all_registered(wildcards):
    """Registered MR of every subject that is trained on or tested; a newer one changes no split."""
    entry = DATASETS[wildcards.dataset]
    kept = validation_subjects(people_of(entry), entry["split"])
    return [ancient(registered_mr(wildcards.dataset, subject)) for subject in entry["subjects"] if subject not in kept]


def structural_inputs(wildcards):
    """A subject's MR; of a phantom also what is known of it."""
    dataset, subject = wildcards.dataset, wildcards.subject
    known = ["labels", "truth"] if dataset in PHANTOMS else []
    inputs = {"t1w": t1w_image(dataset, subject), "preflight": preflight_of(dataset)}
    return inputs | {kind: truth(dataset, subject, kind) for kind in known}


def structural_pet_inputs(wildcards):
    """A subject's PET and the transforms that take it to MNI space."""
    dataset, subject = wildcards.dataset, wildcards.subject
    folder = f"<results>/{dataset}/structural/sub-{subject}/sub-{subject}"
    return {
        "pet": pet_image(dataset, subject, STANDARD),
        "to_t1w": f"<results>/{dataset}/registered/sub-{subject}/sub-{subject}_from-pet_to-T1w_xfm.h5",
        "rigid": f"{folder}_from-ACPC_to-T1w_xfm.mat",
        "warp": f"{folder}_from-MNI152_to-ACPC_xfm.h5",
    }


def grey_matter_map(dataset, subject):
    """Path of a subject's grey matter in MNI space."""
    return f"<results>/{dataset}/structural/sub-{subject}/sub-{subject}_space-MNI152_label-GM_probseg.nii.gz"


def reference_image(dataset, subject):
    """Path of the image that restored ones are compared with: the standard dose, in MNI space where PET is made of MR."""
    if dataset in SYNTHETIC:
        return f"<results>/{dataset}/structural/sub-{subject}/sub-{subject}_space-MNI152_pet.nii.gz"
    return pet_image(dataset, subject, STANDARD)


def prepared(dataset, dose, domain, subject):
    """Path of the parameters beside a subject's normalised volumes."""
    if subject in DATASETS[dataset].get("mr_only", []):
        return f"<results>/{dataset}/{dose}/prepared/{domain}/mr_only/sub-{subject}/prepared.json"
    return f"<results>/{dataset}/{dose}/prepared/{domain}/sub-{subject}/prepared.json"


# Trainings and the weights that a restoration takes.
def module_of(wildcards):
    """Module of the method, through `weights_of`."""
    return METHODS[own_training(wildcards).method]["module"]


def method_module(wildcards):
    """The module of the job's method."""
    return [module_of(wildcards)]


def any_module(wildcards):
    """Every module of a method: weights from the command line may belong to any."""
    return sorted(path.stem for path in Path(workflow.basedir, "config", "schemas", "methods").glob("*.yaml"))


def own_training(wildcards):
    """The training whose weights restore a subject, or that a training job makes."""
    fold = wildcards.get("fold") or fold_of(wildcards.dataset, wildcards.subject)
    return weights_of(ENTRIES, Training(wildcards.dataset, wildcards.dose, wildcards.method, fold))


def weights_file(training):
    """Path of a training's weights."""
    return f"<results>/{training.dataset}/{training.dose}/{training.method}/fold-{training.fold}/model.safetensors"


def training_data(wildcards):
    """Parameters of each training subject's normalised volumes."""
    training = own_training(wildcards)
    domain = METHODS[training.method]["train"]["domain"]
    return [
        prepared(sample.dataset, sample.dose, domain, sample.subject) for sample in training_samples(ENTRIES, training)
    ]


def domain_of(training):
    """The domain of its data set that a training sees."""
    return DATASETS[training.dataset]["domains"][METHODS[training.method]["train"]["domain"]]


def restoring_runtime(wildcards, attempt):
    """Minutes of restoring one subject, as they follow from its windows and the steps of the sampler."""
    dataset, restore = DATASETS[wildcards.dataset], METHODS[wildcards.method]["restore"]
    domain = dataset["domains"][METHODS[own_training(wildcards).method]["train"]["domain"]]
    return scaled(restoring_minutes(dataset, domain, restore))(wildcards, attempt)


def reliance_runtime(wildcards, attempt):
    """Minutes of restoring each of a fold's subjects as it is and with three swaps."""
    return 4 * len(relying(wildcards)) * restoring_runtime(wildcards, attempt)


def starting_weights(wildcards):
    """Weights that a training begins with: none or one."""
    start = starting_point(ENTRIES, own_training(wildcards))
    return [] if start is None else [weights_file(start)]


def restoring_inputs(wildcards):
    """What restores a subject: its prepared volumes, its low dose, the weights of the fold that did not see it."""
    training = own_training(wildcards)
    domain = METHODS[training.method]["train"]["domain"]
    dataset, subject = wildcards.dataset, wildcards.subject
    return {
        "prepared": prepared(dataset, wildcards.dose, domain, subject),
        "image": (
            grey_matter_map(dataset, subject) if dataset in SYNTHETIC else pet_image(dataset, subject, wildcards.dose)
        ),
        "weights": weights_file(training),
    }


def restored(dataset, dose, method, subject):
    """Path of a restored image; the low or the standard dose itself for the row of that name."""
    if method == LOW_DOSE:
        return pet_image(dataset, subject, dose)
    if method == STANDARD_ROW:
        return reference_image(dataset, subject)
    return f"<results>/{dataset}/{dose}/{method}/restored/sub-{subject}/pet/sub-{subject}_rec-{dose}_desc-restored_pet.nii.gz"


def fused_parts(suffix):
    """A function of wildcards: the restored images, or their sidecars, that an ensemble fuses."""

    def of(wildcards):
        parts = METHODS[wildcards.method]["ensemble"]
        images = [restored(wildcards.dataset, wildcards.dose, part, wildcards.subject) for part in parts]
        return [image.removesuffix(".nii.gz") + suffix for image in images]

    return of


# Evaluation and report.
def trainings_of(dataset, dose, method):
    """The trainings behind a method's restored volumes, by fold; an ensemble's are those of its parts."""
    entry = METHODS[method]
    if "ensemble" in entry:
        return [training for part in entry["ensemble"] for training in trainings_of(dataset, dose, part)]
    return [
        weights_of(ENTRIES, Training(dataset, dose, method, fold))
        for fold in folds(people_of(DATASETS[dataset]), DATASETS[dataset]["split"])
    ]


def evaluation_inputs(wildcards):
    """Everything a method is measured by on a data set at a dose."""
    dataset, dose, method = wildcards.dataset, wildcards.dose, wildcards.method
    subjects = tested(dataset)
    images = [restored(dataset, dose, method, subject) for subject in subjects]
    inputs = {"restored": images, "standard_dose": [reference_image(dataset, subject) for subject in subjects]}
    inputs["preflight"] = preflight_of(dataset)
    inputs["lpips"] = list(lpips_files(dataset).values())
    if dataset in PHANTOMS and dataset not in SYNTHETIC:
        for kind in ["activity", "labels", "truth"]:
            inputs[kind] = [truth(dataset, subject, kind) for subject in subjects]
    if method not in UNRESTORED:
        inputs["restore_costs"] = [image.removesuffix(".nii.gz") + ".json" for image in images]
        inputs["train_costs"] = [
            str(Path(weights_file(training)).parent / "cost.json") for training in trainings_of(dataset, dose, method)
        ]
    return inputs


def lpips_files(dataset):
    """The weights that LPIPS takes, where the data set names some: a lab's own files, or those to fetch, whose times do not count."""
    files = {}
    for name, source in DATASETS[dataset].get("evaluation", {}).get("lpips", {}).items():
        if isinstance(source, str):
            if not Path(source).is_file():
                stop(
                    f"data set {dataset}: evaluation/lpips/{name}: {source}: no such file; correct the path, or remove lpips."
                )
            files[name] = ancient(source)
        else:
            files[name] = ancient(f"results/downloads/weights/{source['sha256']}.pth")
    return files


def lpips_checksums(dataset):
    """Checksums of those weights: what a value depends on, wherever they came from."""
    sources = DATASETS[dataset].get("evaluation", {}).get("lpips", {})
    lpips_files(dataset)
    return [checksum(source) if isinstance(source, str) else source["sha256"] for source in sources.values()]


def weights_address(wildcards):
    """Where weights of a checksum are fetched from: the first address that a data set gives."""
    blocks = [entry.get("evaluation", {}).get("lpips", {}) for entry in DATASETS.values()]
    sources = [source for block in blocks for source in block.values() if not isinstance(source, str)]
    return next(source["url"] for source in sources if source["sha256"] == wildcards.sha256)


def evaluation_settings(wildcards):
    """The data set's choices for its metrics, with the files of weights that it names."""
    settings = dict(DATASETS[wildcards.dataset].get("evaluation", {}))
    files = lpips_files(wildcards.dataset)
    return settings | ({"lpips": {name: str(path) for name, path in files.items()}} if files else {})


def below_results(path):
    """A path as it is on disk, where Snakemake does not put it in."""
    return str(path).replace("<results>", f"results/{ENTRIES['scale']}")


def measured(wildcards=None):
    """What each metrics table of the run was measured from, by its path."""
    plan = {}
    for path in metrics_of(RUN):
        dataset, dose, method = Path(path).parts[-4:-1]
        own = SimpleNamespace(dataset=dataset, dose=dose, method=method)
        files = {
            name: [below_results(file) for file in several]
            for name, several in evaluation_inputs(own).items()
            if name not in ("preflight", "lpips")
        }
        plan[below_results(path)] = {
            **files,
            "dataset": dataset,
            "dose": dose,
            "method": method,
            "subjects": tested_of(own),
            "people": people_tested(own),
            "folds": folds_of(own),
            "grid": DATASETS[dataset]["preprocess"]["grid"],
            "settings": evaluation_settings(own),
        }
    return plan


def reconstructed(wildcards=None):
    """What the measures of each corrected reconstruction of a torso were taken from, by their path."""
    plan = {}
    for name in of_kind("range_reconstruction"):
        options = of_range("background_mm", "profiled")(SimpleNamespace(experiment=name))
        volumes = {kind: below_results(path) for kind, path in torso_volumes(RANGE[name]["torso"]).items()}
        for strategy in RANGE[name]["strategies"]:
            for number in realisations(name):
                stem = below_results(range_results(name, f"{strategy}/realisation-{number}"))
                plan[below_results(range_results(name, f"{strategy}/measures-{number}.tsv"))] = {
                    "images": f"{stem}.nii.gz",
                    "sidecar_path": f"{stem}.json",
                    "torso": volumes,
                    "model": strategy,
                    "realisation": number,
                    **options,
                }
    return plan


def summarised(wildcards=None):
    """The measures behind each summary of corrected reconstructions, by its path."""
    return {
        below_results(range_results(name, "summary.tsv")): [
            below_results(path) for path in range_measures(SimpleNamespace(experiment=name))
        ]
        for name in of_kind("range_reconstruction")
    }


def tabulated(wildcards=None):
    """What each table of the run was built from, by its path."""
    plan = {}
    for name in [*TABULATED, *DIAGNOSES, *RANGE]:
        own = SimpleNamespace(experiment=name)
        entry = RANGE[name] if name in RANGE else EXPERIMENTS[name]
        if name in RANGE:
            files = range_results_of(name)
        else:
            files = {"scores": scores_of([name])} if name in DIAGNOSES else {"metrics": values_of(own)}
        files = {kind: [below_results(path) for path in aslist(paths)] for kind, paths in files.items()}
        plan[below_results(f"<results>/tables/{name}.tsv")] = {
            "experiment": entry,
            "titles": predictor_titles(own) if name in RANGE else titles_of(own),
            "published": published_path(entry["published"]) if "published" in entry else None,
            "files": files,
            "bootstrap": bootstrap_of(own) if name in DIAGNOSES else None,
            "record": recorded(own, files),
        }
    return plan


def recorded(wildcards, files):
    """What the record of a table is made from, the code aside; of one on positron range, `files` are its data."""
    if wildcards.experiment in RANGE:
        data = numbered(files)
        return {"configuration": range_configuration(wildcards), "names": list(data), "files": list(data.values())}
    return {
        "configuration": configuration_behind(wildcards),
        "names": names_behind(wildcards),
        "files": [below_results(path) for path in images_behind(wildcards)],
    }


def truth(dataset, subject, kind):
    """Path of what is known of a phantom subject."""
    names = {
        "activity": "activity.nii.gz",
        "attenuation": "mumap.nii.gz",
        "labels": "dseg.nii.gz",
        "truth": "truth.json",
    }
    return f"<results>/{dataset}/truth/sub-{subject}/sub-{subject}_{names[kind]}"


@cache
def tested(dataset):
    """Subjects of a data set that some fold tests: those that are restored, measured and shown."""
    return subjects_tested(people_of(DATASETS[dataset]), DATASETS[dataset]["split"])


def tested_of(wildcards):
    """Subjects that a method is measured on."""
    return tested(wildcards.dataset)


def people_tested(wildcards):
    """The person that each tested subject shows, in their order."""
    people = people_of(DATASETS[wildcards.dataset])
    return [people[subject] for subject in tested(wildcards.dataset)]


@cache
def fold_of(dataset, subject):
    """The fold that tests a subject, `all` for one with MR only; a subject without one ends the run in one line."""
    if subject in DATASETS[dataset].get("mr_only", []):
        return ALL
    try:
        return fold_testing(people_of(DATASETS[dataset]), DATASETS[dataset]["split"], subject)
    except InputError as error:
        stop(f"data set {dataset}: {error}")


def folds_of(wildcards):
    """The fold that tests each tested subject, in their order."""
    return [fold_of(wildcards.dataset, subject) for subject in tested(wildcards.dataset)]


def studies_behind(experiment):
    """Data set and fold of each classification that an experiment shows: none but for a diagnosis."""
    entry = EXPERIMENTS[experiment]
    if experiment not in DIAGNOSES:
        return []
    return [
        (column["dataset"], study_in(column["dataset"], entry["classifier"], fold))
        for column in entry["columns"]
        for fold in folds_studied(column)
    ]


@cache
def trainings_behind(experiment):
    """Every training that an experiment's table depends on, starting points too."""
    waiting = [training for _, study in studies_behind(experiment) for training in generators_of(study)]
    if experiment not in DIAGNOSES:
        waiting = [
            training
            for column in EXPERIMENTS[experiment]["columns"]
            for method in EXPERIMENTS[experiment]["rows"]
            if method not in UNRESTORED
            for training in trainings_of(column["dataset"], column["dose"], method)
        ]
    found = set()
    while waiting:
        training = waiting.pop()
        if training not in found:
            found.add(training)
            start = starting_point(ENTRIES, training)
            waiting += [] if start is None else [start]
    return sorted(found)


@cache
def samples_behind(experiment):
    """Data set, subject and kind of each image that an experiment's table depends on."""
    samples = {
        (sample.dataset, sample.dose, sample.subject)
        for training in trainings_behind(experiment)
        for sample in training_samples(ENTRIES, training)
    }
    samples |= {
        (dataset, NO_DOSE, subject)
        for dataset, study in studies_behind(experiment)
        for subject in [*study.train, *study.test]
    }
    if experiment not in DIAGNOSES:
        samples |= {
            (column["dataset"], column["dose"], subject)
            for column in EXPERIMENTS[experiment]["columns"]
            for subject in tested(column["dataset"])
        }
    if experiment in RELIANCES:
        samples |= {
            (dataset, dose, other_of(dataset, subject))
            for dataset, dose, subject in samples
            if subject in tested(dataset)
        }
    return sorted(
        {(dataset, subject, kind) for dataset, dose, subject in samples for kind in kinds_of(dataset, dose, subject)}
    )


def kinds_of(dataset, dose, subject):
    """The images of a subject at a dose: MR, and PET if it has some."""
    if subject in DATASETS[dataset].get("mr_only", []):
        return ["T1w"]
    return ["T1w", STANDARD] if dose == NO_DOSE else ["T1w", STANDARD, dose]


def images_behind(wildcards):
    """Those images, in the same order."""
    return [
        t1w_image(dataset, subject) if kind == "T1w" else pet_image(dataset, subject, kind)
        for dataset, subject, kind in samples_behind(wildcards.experiment)
    ]


def names_behind(wildcards):
    """What a record calls those images: no path."""
    return ["/".join(sample) for sample in samples_behind(wildcards.experiment)]


def configuration_behind(wildcards):
    """The resolved entries that an experiment's table depends on."""
    experiment = EXPERIMENTS[wildcards.experiment]
    datasets = {dataset for dataset, _, _ in samples_behind(wildcards.experiment)}
    methods = {training.method for training in trainings_behind(wildcards.experiment)}
    methods |= set(methods_of(experiment)).difference(UNRESTORED)
    scanners = {DATASETS[dataset]["scanner"] for dataset in datasets if "scanner" in DATASETS[dataset]}
    classifiers = [experiment["classifier"]] if wildcards.experiment in DIAGNOSES else []
    return {
        "experiment": experiment,
        "datasets": {name: DATASETS[name] for name in sorted(datasets)},
        "methods": {name: METHODS[name] for name in sorted(methods)},
        "scanners": {name: ENTRIES["scanners"][name] for name in sorted(scanners)},
        "classifiers": {name: CLASSIFIERS[name] for name in classifiers},
    }


def code_behind(wildcards):
    """Hash of the code of each stage that an experiment's table depends on."""
    experiment = wildcards.experiment
    datasets = {dataset for dataset, _, _ in samples_behind(experiment)}
    modules = sorted({METHODS[training.method]["module"] for training in trainings_behind(experiment)})
    low_doses = {dataset for dataset, _, kind in samples_behind(experiment) if kind not in ("T1w", STANDARD)}
    stages = {
        "acquire": datasets & set(PHANTOMS),
        "simulate": datasets & set(PHANTOMS),
        "reconstruct": datasets & set(PHANTOMS),
        "simulate_from_image": any(simulated_doses(dataset) for dataset in low_doses - set(PHANTOMS)),
        "register": datasets,
        "prepare": datasets - set(SYNTHETIC),
        "normalise_mr": datasets & set(SYNTHETIC),
        "normalise_pet": datasets & set(SYNTHETIC),
        "prepare_maps": datasets & set(SYNTHETIC),
        "fuse": set(EXPERIMENTS[experiment]["rows"]) & set(FUSED),
        "evaluate": experiment not in [*DIAGNOSES, *RELIANCES],
    }
    restoring = {"diagnosis": "classify", "roc": "classify", "reliance": "reliance"}
    of_methods = ["train", restoring.get(EXPERIMENTS[experiment]["kind"], "restore_subject")]
    return {
        **{stage: hash_of(stage) for stage, taken in stages.items() if taken},
        **{stage: hash_of(stage, *modules) for stage in of_methods},
    }


@cache
def hash_of(stage, *modules):
    """Hash of the code of one stage."""
    script = os.path.join(workflow.basedir, "scripts", f"{stage}.py")
    return code_hash(script, *(f"petbench.methods.{module}" for module in modules))


def range_configuration(wildcards):
    """The resolved entries that an experiment on positron range depends on."""
    entry = RANGE[wildcards.experiment]
    predictors = {name: PREDICTORS[name] for name in entry.get("predictors", [entry.get("predictor")])}
    sets = {name for predictor in predictors.values() for name in [*predictor["psf_sets"], predictor["kernels"]]}
    torso = scanned(wildcards.experiment).get("torso")
    return {
        "experiment": entry,
        "predictors": predictors,
        "psf_sets": {name: PSF_SETS[name] for name in sorted(sets | set(entry.get("runs", [])))},
        "torsos": {torso: TORSOS[torso]} if torso else {},
        "scanner": range_scanner(wildcards),
    }


def range_code(wildcards):
    """Hash of the code of each stage of positron range."""
    stages = ["media", "gate", "train_predictor", "annihilate"]
    own = {
        "range_accuracy": ["compare_kernels", "compare_torso", "truncation"],
        "range_reconstruction": [
            "scan_torso",
            "predict_kernels",
            "reconstruct_torso",
            "measure_torso",
            "summarise_torso",
        ],
        "range_scan": ["scan_torso", "correct_scan", "profile_scan"],
    }
    return {stage: hash_of(stage) for stage in [*stages, *own[RANGE[wildcards.experiment]["kind"]]]}


def metrics_of(experiments):
    """Metric tables of every method in every column of some experiments, each once; those of reliance have their own (`values_of`)."""
    return sorted(
        {
            f"<results>/{column['dataset']}/{column['dose']}/{method}/metrics.tsv"
            for name in experiments
            if name in TABULATED and name not in RELIANCES
            for column in EXPERIMENTS[name]["columns"]
            for method in EXPERIMENTS[name]["rows"]
        }
    )


def values_of(wildcards):
    """What the table of an experiment is built from: metric tables, or what swapping a method's inputs does, fold by fold."""
    name = wildcards.experiment
    if name not in RELIANCES:
        return metrics_of([name])
    return [
        f"<results>/reliance/{name}/{column['dataset']}/{column['dose']}/{method}/fold-{fold}.tsv"
        for column in EXPERIMENTS[name]["columns"]
        for method in EXPERIMENTS[name]["rows"]
        for fold in folds(people_of(DATASETS[column["dataset"]]), DATASETS[column["dataset"]]["split"])
    ]


def relying(wildcards):
    """The subjects of a fold whose inputs are swapped: all that it tests, or the first so many."""
    entry = DATASETS[wildcards.dataset]
    return folds(people_of(entry), entry["split"])[wildcards.fold][: EXPERIMENTS[wildcards.experiment].get("subjects")]


def people_relying(wildcards):
    """The person that each of them shows."""
    people = people_of(DATASETS[wildcards.dataset])
    return [people[subject] for subject in relying(wildcards)]


@cache
def other_of(dataset, subject):
    """The subject whose images stand in for another's."""
    return another(people_of(DATASETS[dataset]), DATASETS[dataset]["split"], subject)


def reliance_inputs(wildcards):
    """Weights of a fold, what it restores, and whose images stand in."""
    training, dataset, dose = own_training(wildcards), wildcards.dataset, wildcards.dose
    domain, subjects = METHODS[training.method]["train"]["domain"], relying(wildcards)
    known = {"labels": [truth(dataset, subject, "labels") for subject in subjects]} if dataset in PHANTOMS else {}
    return known | {
        "weights": weights_file(training),
        "prepared": [prepared(dataset, dose, domain, subject) for subject in subjects],
        "others": [prepared(dataset, dose, domain, other_of(dataset, subject)) for subject in subjects],
        "low_dose": [pet_image(dataset, subject, dose) for subject in subjects],
        "standard_dose": [reference_image(dataset, subject) for subject in subjects],
    }


# Diagnosis.
def classifying_study(wildcards):
    """The fold of the study that a job classifies."""
    return study_in(wildcards.dataset, wildcards.classifier, wildcards.fold)


def generators_of(study):
    """The trainings behind the generated PET of one fold, each once, in order."""
    return sorted({maker for makers in study.pet.values() for maker in makers.values() if maker is not None})


def classifying_inputs(wildcards):
    """Volumes of those who train and test a classifier, and the weights that make their PET."""
    study, domain = classifying_study(wildcards), CLASSIFIERS[wildcards.classifier]["domain"]
    return {
        "split": ancient(f"<results>/{wildcards.dataset}/split.json"),
        "train": [prepared(wildcards.dataset, wildcards.dose, domain, subject) for subject in study.train],
        "test": [prepared(wildcards.dataset, wildcards.dose, domain, subject) for subject in study.test],
        "generators": [weights_file(training) for training in generators_of(study)],
    }


def classifying_plan(wildcards):
    """Who trains and tests a classifier, who is ill, and which weights make whose PET (see `petbench.diagnosis.classify.classify`)."""
    study, labels = classifying_study(wildcards), DATASETS[wildcards.dataset]["labels"]
    place = {training: number for number, training in enumerate(generators_of(study))}
    rows = {row: None for row in study_rows(wildcards.dataset, wildcards.classifier) if row == MR_ALONE} | {
        row: {subject: None if maker is None else place[maker] for subject, maker in makers.items()}
        for row, makers in study.pet.items()
    }
    positive = DATASETS[wildcards.dataset]["diagnosis"]["positive"]
    return {
        "dataset": wildcards.dataset,
        "dose": wildcards.dose,
        "classifier": wildcards.classifier,
        "study": "mr_only" if wildcards.fold == ALL else "paired",
        "fold": wildcards.fold,
        "train": study.train,
        "test": study.test,
        "ill": {subject: int(labels[subject] == positive) for subject in [*study.train, *study.test]},
        "rows": rows,
    }


def classifier_of(wildcards):
    """What the classifier's weights depend on."""
    entry = CLASSIFIERS[wildcards.classifier]
    return {key: entry[key] for key in ("domain", "inputs", "network", "train", "repeats") if key in entry}


def diagnosed_modules(wildcards):
    """Modules of the methods whose PET a classifier sees."""
    return sorted({METHODS[training.method]["module"] for training in generators_of(classifying_study(wildcards))})


def scores_of(experiments):
    """Scores of all folds of some experiments, each once."""
    wanted = {}
    for name in experiments:
        if name in DIAGNOSES:
            classifier = EXPERIMENTS[name]["classifier"]
            for column in EXPERIMENTS[name]["columns"]:
                for fold in folds_studied(column):
                    folder = f"<results>/{column['dataset']}/{NO_DOSE}/diagnosis/{classifier}/fold-{fold}"
                    wanted[f"{folder}/scores.tsv"] = None
    return list(wanted)


def bootstrap_of(wildcards):
    """Resamplings behind the intervals of an experiment."""
    return CLASSIFIERS[EXPERIMENTS[wildcards.experiment]["classifier"]]["bootstrap"]


def experiment_files(experiments):
    """Tables of some experiments, and the figures of those that have some."""
    figures = [name for name in experiments if name in FIGURES]
    figures += [f"{name}-{figure}" for name in experiments if name in RANGE for figure in figures_of(name)]
    return [
        f"<results>/tables/{name}.{suffix}"
        for name in experiments
        for suffix in (["tsv"] if name in MAPS else ["tsv", "md", "tex"])
    ] + [figure_file(name, suffix) for name in figures for suffix in ["png", "svg"]]


def figure_file(experiment, suffix):
    """Path of an experiment's figure."""
    return f"<results>/figures/{experiment}.{suffix}"


def figure_inputs(wildcards):
    """What a figure is drawn from: a map of similarity, images of the first subject tested of each place, or metrics."""
    experiment = EXPERIMENTS[wildcards.experiment]
    if experiment["kind"] == "similarity":
        return {"similarity": f"<results>/tables/{wildcards.experiment}.tsv"}
    if "panels" in experiment:
        return {"metrics": metrics_of([wildcards.experiment])}
    shown = [(dataset, dose, tested(dataset)[0]) for dataset, dose in places_of(experiment)]
    methods = [method for method in experiment["rows"] if method != STANDARD_ROW]
    inputs = {"images": []}
    for dataset, dose, subject in shown:
        known = grey_matter_map if dataset in SYNTHETIC else registered_mr
        inputs["images"] += [known(dataset, subject)] if experiment["views"].get("mr") else []
        inputs["images"] += [restored(dataset, dose, method, subject) for method in [STANDARD_ROW, *methods]]
    if through_lesions(experiment):
        inputs |= {
            kind: [truth(dataset, subject, kind) for dataset, _, subject in shown] for kind in ["labels", "truth"]
        }
    return inputs


def compared(wildcards):
    """The training whose layers a map of similarity compares: that of the first fold."""
    experiment = EXPERIMENTS[wildcards.experiment]
    column = experiment["columns"][0]
    fold = next(iter(folds(people_of(DATASETS[column["dataset"]]), DATASETS[column["dataset"]]["split"])))
    return weights_of(ENTRIES, Training(column["dataset"], column["dose"], experiment["rows"][0], fold))


def similarity_inputs(wildcards):
    """What a map of similarity takes: weights, and the prepared volumes of subjects that they have not seen."""
    experiment, training = EXPERIMENTS[wildcards.experiment], compared(wildcards)
    column, domain = experiment["columns"][0], METHODS[training.method]["train"]["domain"]
    dataset = column["dataset"]
    subjects = next(iter(folds(people_of(DATASETS[dataset]), DATASETS[dataset]["split"]).values()))
    return {
        "weights": weights_file(training),
        "prepared": [prepared(dataset, column["dose"], domain, subject) for subject in subjects],
    }


def figures_of(experiment):
    """Names of the figures of an experiment on positron range."""
    return list(RANGE_FIGURES[RANGE[experiment]["kind"]])


def descriptions():
    """What makes the phantom data sets that BIDS asks for."""
    files = ["dataset_description.json", "participants.tsv"]
    return [f"<results>/{dataset}/bids/{name}" for dataset in PHANTOMS for name in files]


def published_file(wildcards):
    """The paper's printed values, where it has some."""
    name = EXPERIMENTS[wildcards.experiment].get("published")
    return [ancient(published_path(name))] if name else []


def published_checksum(wildcards):
    """Checksum of the paper's printed values."""
    name = EXPERIMENTS[wildcards.experiment].get("published")
    return checksums_of([published_path(name)] if name else [])


def published_path(name):
    """Path of a file of printed values; its content, not its time, decides what reruns (see `checksums_of`)."""
    path = os.path.join(workflow.basedir, "resources", "published", f"{name}.tsv")
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path


def checksums_of(paths):
    """Checksums of files that come with the code: a fresh checkout has new times and the same content."""
    return [checksum(path) for path in paths]


def titles_of(wildcards):
    """Titles of an experiment's methods."""
    return {
        name: METHODS[name]["title"] for name in methods_of(EXPERIMENTS[wildcards.experiment]) if name not in UNRESTORED
    }


def drawn_of(wildcards):
    """What pictures take of each data set: its title, where it comes from and how it is scaled, and the slices that are evaluated."""
    entries = {
        column["dataset"]: DATASETS[column["dataset"]] for column in EXPERIMENTS[wildcards.experiment]["columns"]
    }
    slicing = ["slice_axis", "slices"]
    return {
        name: {
            "title": entry["title"],
            "source": entry["source"],
            "preprocess": {"scaling": {"mode": entry["preprocess"]["scaling"]["mode"]}},
            "evaluation": {key: entry["evaluation"][key] for key in slicing if key in entry.get("evaluation", {})},
        }
        for name, entry in entries.items()
    }


def cost_files(wildcards):
    """Sidecars of restored images and costs of trainings behind a table that shows time or memory: they name the devices."""
    experiment = EXPERIMENTS[wildcards.experiment]
    if not set(experiment.get("cost", [])) & set(TIMED):
        return {"restore_costs": [], "train_costs": []}
    places = [
        (column["dataset"], column["dose"], method)
        for column in experiment["columns"]
        for method in experiment["rows"]
        if method not in UNRESTORED
    ]
    trainings = dict.fromkeys(training for place in places for training in trainings_of(*place))
    images = [restored(*place, subject) for place in places for subject in tested(place[0])]
    return {
        "restore_costs": [image.removesuffix(".nii.gz") + ".json" for image in images],
        "train_costs": [str(Path(weights_file(training)).parent / "cost.json") for training in trainings],
    }


def notes_of(wildcards):
    """What a reader of an experiment's table must know of the scale and its data sets."""
    return list(scale_notes(ENTRIES, EXPERIMENTS[wildcards.experiment], config.get("note", "")))


def shown_columns():
    """Methods of all experiments by data set and dose, each once and in order."""
    shown = {}
    for experiment in [EXPERIMENTS[name] for name in TABULATED if name not in RELIANCES]:
        for column in experiment["columns"]:
            methods = shown.setdefault((column["dataset"], column["dose"]), [])
            methods += [method for method in experiment["rows"] if method not in methods]
    return shown


def page_plan():
    """What the page shows, in the order of `page_inputs`: which training, subject or volume each file is."""
    shown = shown_columns()
    behind = {
        (dataset, dose, method): trainings_of(dataset, dose, method)
        for (dataset, dose), methods in shown.items()
        for method in methods
        if method not in UNRESTORED
    }
    trainings = list(dict.fromkeys(training for several in behind.values() for training in several))
    place = {training: number for number, training in enumerate(trainings)}
    most = ENTRIES["report"].get("viewer_subjects", 2)
    volumes = []
    for (dataset, dose), methods in shown.items():
        known = ["true_activity", "labels", "truth"] if dataset in PHANTOMS and dataset not in SYNTHETIC else []
        low = [] if dataset in SYNTHETIC else [LOW_DOSE]
        kinds = ["standard_dose", *low, *(method for method in methods if method not in UNRESTORED), *known]
        volumes += [[dataset, dose, subject, kind] for subject in tested(dataset)[:most] for kind in kinds]
    return {
        "trainings": [[training.dataset, training.dose, training.method, training.fold] for training in trainings],
        "registrations": [
            [dataset, subject] for dataset in dict.fromkeys(name for name, _ in shown) for subject in tested(dataset)
        ],
        "volumes": volumes,
        "restorations": [[*row, subject] for row in behind for subject in tested(row[0])],
        "behind": [[*row, [place[training] for training in several]] for row, several in behind.items()],
        "left_out": sum(max(0, len(tested(dataset)) - most) for dataset, _ in shown),
        "range_files": [
            [name, kind] for name in RANGE for kind, files in range_results_of(name).items() for _ in aslist(files)
        ],
        "range_figures": [[name, figure] for name in RANGE for figure in figures_of(name)],
    }


def page_inputs(wildcards):
    """Every file that the page shows."""
    plan = page_plan()
    folders = [Path(weights_file(Training(*training))).parent for training in plan["trainings"]]
    return {
        "metrics": metrics_of(RUN),
        "reliance": [path for name in RELIANCES for path in values_of(SimpleNamespace(experiment=name))],
        "scores": scores_of(RUN),
        "histories": [f"{folder}/history.tsv" for folder in folders],
        "costs": [f"{folder}/cost.json" for folder in folders],
        "registrations": [
            f"<results>/{dataset}/registered/sub-{subject}/sub-{subject}_registration.png"
            for dataset, subject in plan["registrations"]
        ],
        "images": [reference_image(dataset, subject) for dataset, subject in plan["registrations"]],
        "volumes": [shown_volume(*volume) for volume in plan["volumes"]],
        "sidecars": [restored(*restoration).removesuffix(".nii.gz") + ".json" for restoration in plan["restorations"]],
        "range_files": [path for name in RANGE for files in range_results_of(name).values() for path in aslist(files)],
        "range_figures": [f"<results>/figures/{name}-{figure}.svg" for name, figure in plan["range_figures"]],
        "published": [ancient(published_path(name)) for name in page_published()],
        "papers": ancient(published_path("papers")),
        "records": [f"<results>/tables/{name}.json" for name in RUN if name not in MAPS],
        "figures": [figure_file(name, "png" if "views" in EXPERIMENTS[name] else "svg") for name in FIGURES],
    }


def page_published():
    """Names of the files of printed values on the page."""
    entries = [*EXPERIMENTS.values(), *RANGE.values()]
    return list(dict.fromkeys(entry["published"] for entry in entries if "published" in entry))


def page_parts():
    """Checksums of what the page takes from the code's own files: template, style, script and printed values."""
    return checksums_of(
        [*sorted((PACKAGE / "report" / "assets").iterdir()), *map(published_path, [*page_published(), "papers"])]
    )


def shown_volume(dataset, dose, subject, kind):
    """Path of a volume on the page."""
    if kind == "standard_dose":
        return reference_image(dataset, subject)
    if kind in ("true_activity", "labels", "truth"):
        return truth(dataset, subject, kind.removeprefix("true_"))
    return restored(dataset, dose, kind, subject)


# A lab's own scans.
def own_scans(wildcards):
    """Restored volumes of the scans that the command line names.

    Paths are made absolute, so that weights of this workflow are taken as they are and train nothing.
    """
    for key in ["bids", "weights"]:
        if key not in config:
            stop(f"restore: give {key} on the command line: --config bids=DIR weights=FILE [subject=sub-01].")
    try:
        found = [label.removeprefix("sub-") for label in find_subjects(config["bids"])]
    except InputError as error:
        stop(error)
    wanted = [str(config["subject"]).removeprefix("sub-")] if "subject" in config else found
    for subject in wanted:
        # Snakemake reads subject=01 as the number 1
        if subject not in found and (matches := [label for label in found if label.lstrip("0") == subject]):
            wanted = matches[:1] if len(matches) == 1 else wanted
        elif subject not in found:
            stop(f"restore: {config['bids']} has no subject {subject!r}; its subjects are {', '.join(found)}.")
    pages = [f"results/restored/sub-{subject}/sub-{subject}.html" for subject in wanted]
    return ["results/restored/dataset_description.json", *pages]


def own_scan(wildcards):
    """The PET and MR image of one of a lab's own subjects, and the weights."""
    try:
        return {
            "pet": str(find_image(config["bids"], f"sub-{wildcards.subject}", "pet", config.get("rec")).resolve()),
            "mr": str(find_image(config["bids"], f"sub-{wildcards.subject}", "T1w").resolve()),
            "weights": os.path.abspath(config["weights"]),
        }
    except InputError as error:
        stop(error)


# Positron range.
def psf_file(name):
    """Path of a whole PSF set."""
    return f"<results>/positron_range/psf_sets/{name}/psf.h5"


def psf_chunks(wildcards):
    """The chunks of a PSF set, in order."""
    folder = Path(psf_file(wildcards.psf_set)).parent
    return [f"{folder}/chunk-{chunk}.h5" for chunk in range(PSF_SETS[wildcards.psf_set]["chunks"])]


def predictor_psfs(wildcards):
    """The PSF sets that a predictor is trained on."""
    return [psf_file(name) for name in PREDICTORS[wildcards.predictor]["psf_sets"]]


def kernel_sources(predictor):
    """What strategies take their kernels from: the trained predictor and the homogeneous materials."""
    return {
        "weights": f"<results>/positron_range/predictors/{predictor}/model.safetensors",
        "kernels": psf_file(PREDICTORS[predictor]["kernels"]),
    }


def torso_volumes(torso):
    """Paths of a torso's volumes."""
    return {kind: f"<results>/positron_range/torsos/{torso}/{kind}.nii.gz" for kind in ["activity", "mu", "lesions"]}


def supplied_volumes(wildcards):
    """The volumes of a torso that a lab supplies."""
    supplied = TORSOS[wildcards.torso]["torso"].get("supplied", {})
    return [supplied[kind] for kind in ["activity", "mu", "lesions"] if kind in supplied]


def annihilations(torso, part):
    """Path of a torso's annihilations, of one half or all."""
    return f"<results>/positron_range/torsos/{torso}/annihilations-{part}.h5"


def annihilation_chunks(wildcards):
    """Chunks of a torso's annihilations: of either half, which are independent runs, or all."""
    chunks = TORSOS[wildcards.torso]["chunks"]
    chosen = {"1": range(chunks // 2), "2": range(chunks // 2, chunks), "all": range(chunks)}[wildcards.part]
    folder = Path(annihilations(wildcards.torso, "all")).parent
    return [f"{folder}/chunk-{chunk}.h5" for chunk in chosen]


def kernel_comparison(wildcards):
    """Two runs of GATE, and what a predictor's kernels are made from."""
    runs = [psf_file(name) for name in RANGE[wildcards.experiment]["runs"]]
    return {"runs": runs, **kernel_sources(wildcards.predictor)}


def torso_comparison(wildcards):
    """Two runs of a torso, and what blurs it: the experiment's first predictor."""
    entry = RANGE[wildcards.experiment]
    runs = [annihilations(entry["torso"], part) for part in ["1", "2"]]
    predictor, torso = entry["predictors"][0], entry["torso"]
    return {"runs": runs, **torso_sources("ddconv", torso, predictor), **torso_volumes(torso)}


def scanned(experiment):
    """The block of an experiment that says what is scanned."""
    entry = RANGE[experiment]
    return entry.get("scan", entry)


def scanned_torso(wildcards):
    """A torso and where its positrons annihilate."""
    torso = scanned(wildcards.experiment)["torso"]
    return {"annihilations": annihilations(torso, "all"), **torso_volumes(torso)}


def range_scanner(wildcards):
    """Entry of the scanner of an experiment on positron range."""
    block = scanned(wildcards.experiment)
    return ENTRIES["scanners"][block["scanner"] if "scanner" in block else TORSOS[block["torso"]]["scanner"]]


def of_kind(kind):
    """Experiments on positron range of a kind."""
    return [name for name, entry in RANGE.items() if entry["kind"] == kind]


def predictor_titles(wildcards):
    """Titles of the predictors of an experiment on positron range."""
    entry = RANGE[wildcards.experiment]
    return {name: PREDICTORS[name]["title"] for name in entry.get("predictors", [entry.get("predictor")])}


def of_range(*keys):
    """A function of wildcards: those of an experiment's keys that it gives; the others are the library's to choose."""

    def of(wildcards):
        return {key: RANGE[wildcards.experiment][key] for key in keys if key in RANGE[wildcards.experiment]}

    return of


def kernel_options(wildcards):
    """How kernels are compared, and which media share one."""
    settings = PREDICTORS[wildcards.predictor].get("apply", {})
    shared = {key: settings[key] for key in ["heterogeneous_above"] if key in settings}
    return of_range("epsilon")(wildcards) | shared


def realisations(experiment):
    """Numbers of an experiment's noise realisations."""
    return range(1, RANGE[experiment].get("realisations", 1) + 1)


def range_results(experiment, name):
    """Path of a result of an experiment on positron range."""
    return f"<results>/positron_range/{experiment}/{name}"


def scanned_realisation(wildcards):
    """A scan of a torso, and what a strategy takes its kernels from."""
    entry = RANGE[wildcards.experiment]
    return {
        "acquisition": range_results(wildcards.experiment, f"realisation-{wildcards.realisation}.h5"),
        **torso_sources(wildcards.strategy, entry["torso"], entry["predictor"]),
        **torso_volumes(entry["torso"]),
    }


def kernels_to_predict(wildcards):
    """A torso, and what its kernels are predicted by."""
    return {**kernel_sources(wildcards.predictor), **torso_volumes(wildcards.torso)}


def torso_sources(strategy, torso, predictor):
    """What a strategy takes a torso's kernels from; DDConv's are predicted once a torso."""
    predicted = f"<results>/positron_range/torsos/{torso}/kernels-{predictor}.h5"
    return strategy_sources(strategy, predictor) | ({"predicted": predicted} if strategy == "ddconv" else {})


def applied(wildcards):
    """How the kernels of an experiment's predictor are shared and stored."""
    entry = RANGE[wildcards.experiment]
    return PREDICTORS[entry["predictor"] if "predictor" in entry else entry["predictors"][0]].get("apply", {})


def strategy_sources(strategy, predictor):
    """What a strategy takes its kernels from; without correction nothing."""
    return {} if strategy == "none" else kernel_sources(predictor)


def range_measures(wildcards):
    """The measures of every strategy and realisation."""
    entry = RANGE[wildcards.experiment]
    return [
        range_results(wildcards.experiment, f"{strategy}/measures-{number}.tsv")
        for strategy in entry["strategies"]
        for number in realisations(wildcards.experiment)
    ]


def corrected_scan(wildcards):
    """A lab's scan and attenuation, or those simulated in their place, and what a strategy takes its kernels from."""
    entry = RANGE[wildcards.experiment]
    scan = entry["scan"]
    simulated = "torso" in scan
    return {
        "acquisition": range_results(wildcards.experiment, "realisation-1.h5") if simulated else scan["acquisition"],
        "mu": torso_volumes(scan["torso"])["mu"] if simulated else scan["mu"],
        **strategy_sources(wildcards.strategy, entry["predictor"]),
    }


def range_inputs(wildcards):
    """All that the tables and figures of an experiment on positron range show, by kind."""
    return range_results_of(wildcards.experiment)


def aslist(files):
    """One file or several, as a list."""
    return [files] if isinstance(files, str) else files


def range_results_of(name):
    """Results of an experiment on positron range, by kind."""
    entry = RANGE[name]
    if entry["kind"] == "range_accuracy":
        of_predictors = [f"kernels/{predictor}" for predictor in entry["predictors"]]
        return {
            "distances": [range_results(name, f"{place}/distances.tsv") for place in of_predictors],
            "profiles": range_results(name, f"{of_predictors[0]}/profiles.tsv"),
            "kernels": range_results(name, f"{of_predictors[0]}/kernels.h5"),
            "torso_distances": range_results(name, "torso/distances.tsv"),
            "torso_profiles": range_results(name, "torso/profiles.tsv"),
            "torso_images": range_results(name, "torso/images.h5"),
            "lesions": torso_volumes(entry["torso"])["lesions"],
            "truncation": range_results(name, "truncation.tsv"),
        }
    strategies = entry["strategies"]
    if entry["kind"] == "range_reconstruction":
        return {
            "summary": range_results(name, "summary.tsv"),
            "profiles": [range_results(name, f"{strategy}/profiles-1.tsv") for strategy in strategies],
            "images": [range_results(name, f"{strategy}/realisation-1.nii.gz") for strategy in strategies],
            "sidecars": [range_results(name, f"{strategy}/realisation-1.json") for strategy in strategies],
            **torso_volumes(entry["torso"]),
        }
    return {
        "profiles": range_results(name, "profiles.tsv"),
        "images": [range_results(name, f"{strategy}/scan.nii.gz") for strategy in strategies],
        "sidecars": [range_results(name, f"{strategy}/scan.json") for strategy in strategies],
    }
