"""The name of every file of a run, once: rules take the patterns as they are, the plan fills their wildcards in."""

from collections.abc import Callable


class _Below(str):
    """A path below a scale's results, with wildcards in braces."""

    def __get__(self, paths: "Paths", owner: type["Paths"]) -> str:
        return f"{paths.results}/{self}"


class _Out(str):
    """A path below the folder of a lab's restored scans, with wildcards in braces."""

    def __get__(self, paths: "Paths", owner: type["Paths"]) -> str:
        return f"{paths.out}/{self}"


class Paths:
    """Files by what they hold; `paths.split.format(dataset="mni")` is that of one; `untimed` marks one whose time does not count.

    `out` is the folder of a lab's restored scans.
    """

    def __init__(self, scale: str, untimed: Callable[[str], str], out: str = "results/restored") -> None:
        self.results, self.untimed, self.out = f"results/{scale}", untimed, out

    # shared by all scales
    brainweb_model = "results/downloads/brainweb/subject_{model}.bin.gz"
    openneuro = "results/downloads/openneuro/{accession}/{file}"
    lpips_weights = "results/downloads/weights/{sha256}.pth"
    latest_page = "results/report/index.html"

    # a lab's own scans
    restored_scan = _Out("{folder}/pet/{scan}_desc-restored_pet.nii.gz")
    restored_scan_sidecar = _Out("{folder}/pet/{scan}_desc-restored_pet.json")
    restored_scan_page = _Out("{folder}/{scan}.html")
    restored_scan_log = _Out("logs/{folder}/{scan}.log")
    restored_scan_benchmark = _Out("logs/{folder}/{scan}.tsv")
    restored_description = _Out("dataset_description.json")
    restored_readme = _Out("README.md")
    restored_ignored = _Out(".bidsignore")
    restored_log = _Out("logs/description.log")
    restored_benchmark = _Out("logs/description.tsv")

    @property
    def restored_descriptions(self) -> list[str]:
        """What makes restored scans a BIDS derivative."""
        return [self.restored_description, self.restored_readme, self.restored_ignored]

    # data sets and their subjects
    description = _Below("{dataset}/bids/dataset_description.json")
    readme = _Below("{dataset}/bids/README.md")
    participants = _Below("{dataset}/bids/participants.tsv")
    participants_columns = _Below("{dataset}/bids/participants.json")
    t1w = _Below("{dataset}/bids/sub-{subject}/anat/sub-{subject}_T1w.nii.gz")
    t1w_sidecar = _Below("{dataset}/bids/sub-{subject}/anat/sub-{subject}_T1w.json")
    pet = _Below("{dataset}/bids/sub-{subject}/pet/sub-{subject}_rec-{dose}_pet.nii.gz")
    pet_sidecar = _Below("{dataset}/bids/sub-{subject}/pet/sub-{subject}_rec-{dose}_pet.json")
    activity = _Below("{dataset}/truth/sub-{subject}/sub-{subject}_activity.nii.gz")
    activity_sidecar = _Below("{dataset}/truth/sub-{subject}/sub-{subject}_activity.json")
    attenuation = _Below("{dataset}/truth/sub-{subject}/sub-{subject}_mumap.nii.gz")
    attenuation_sidecar = _Below("{dataset}/truth/sub-{subject}/sub-{subject}_mumap.json")
    labels = _Below("{dataset}/truth/sub-{subject}/sub-{subject}_dseg.nii.gz")
    labels_sidecar = _Below("{dataset}/truth/sub-{subject}/sub-{subject}_dseg.json")
    truth = _Below("{dataset}/truth/sub-{subject}/sub-{subject}_truth.json")
    acquisition = _Below("{dataset}/acquisition/sub-{subject}_acq-{dose}.h5")
    preflight = _Below("{dataset}/preflight.json")
    split = _Below("{dataset}/split.json")
    registered_mr = _Below("{dataset}/registered/sub-{subject}/sub-{subject}_space-pet_T1w.nii.gz")
    pet_to_t1w = _Below("{dataset}/registered/sub-{subject}/sub-{subject}_from-pet_to-T1w_xfm.h5")
    registration_picture = _Below("{dataset}/registered/sub-{subject}/sub-{subject}_registration.png")

    # PET made of MR alone: volumes in MNI space
    grey_matter = _Below("{dataset}/structural/sub-{subject}/sub-{subject}_space-MNI152_label-GM_probseg.nii.gz")
    grey_matter_sidecar = _Below("{dataset}/structural/sub-{subject}/sub-{subject}_space-MNI152_label-GM_probseg.json")
    grey_matter_picture = _Below("{dataset}/structural/sub-{subject}/sub-{subject}_space-MNI152_label-GM.png")
    acpc_t1w = _Below("{dataset}/structural/sub-{subject}/sub-{subject}_space-ACPC_T1w.nii.gz")
    acpc_tissues = _Below("{dataset}/structural/sub-{subject}/sub-{subject}_space-ACPC_dseg.nii.gz")
    acpc_to_t1w = _Below("{dataset}/structural/sub-{subject}/sub-{subject}_from-ACPC_to-T1w_xfm.mat")
    mni_to_acpc = _Below("{dataset}/structural/sub-{subject}/sub-{subject}_from-MNI152_to-ACPC_xfm.h5")
    mni_pet = _Below("{dataset}/structural/sub-{subject}/sub-{subject}_space-MNI152_pet.nii.gz")
    mni_pet_sidecar = _Below("{dataset}/structural/sub-{subject}/sub-{subject}_space-MNI152_pet.json")

    # what methods read: the file of parameters lies beside the volumes and the index
    prepared = _Below("{dataset}/{dose}/prepared/{domain}/sub-{subject}/prepared.json")
    prepared_low_dose = _Below("{dataset}/{dose}/prepared/{domain}/sub-{subject}/low_dose.npy")
    prepared_standard_dose = _Below("{dataset}/{dose}/prepared/{domain}/sub-{subject}/standard_dose.npy")
    prepared_mr = _Below("{dataset}/{dose}/prepared/{domain}/sub-{subject}/mr.npy")
    prepared_regions = _Below("{dataset}/{dose}/prepared/{domain}/sub-{subject}/regions.npy")
    prepared_index = _Below("{dataset}/{dose}/prepared/{domain}/sub-{subject}/index.npy")
    plane_scans = _Below("{dataset}/{dose}/prepared/{domain}/sub-{subject}/acquisition.npy")
    plane_scans_parameters = _Below("{dataset}/{dose}/prepared/{domain}/sub-{subject}/acquisition.json")
    mr_only = _Below("{dataset}/{dose}/prepared/{domain}/mr_only/sub-{subject}/prepared.json")
    mr_only_mr = _Below("{dataset}/{dose}/prepared/{domain}/mr_only/sub-{subject}/mr.npy")
    mr_only_index = _Below("{dataset}/{dose}/prepared/{domain}/mr_only/sub-{subject}/index.npy")

    # trainings, restored volumes and what they are measured by
    weights = _Below("{dataset}/{dose}/{method}/fold-{fold}/model.safetensors")
    history = _Below("{dataset}/{dose}/{method}/fold-{fold}/history.tsv")
    cost = _Below("{dataset}/{dose}/{method}/fold-{fold}/cost.json")
    context = _Below("{dataset}/{dose}/{method}/context/fold-{fold}/sub-{subject}.npy")
    context_sidecar = _Below("{dataset}/{dose}/{method}/context/fold-{fold}/sub-{subject}.json")
    restored = _Below("{dataset}/{dose}/{method}/restored/sub-{subject}/pet/sub-{subject}_rec-{dose}_desc-restored_pet.nii.gz")
    restored_sidecar = _Below("{dataset}/{dose}/{method}/restored/sub-{subject}/pet/sub-{subject}_rec-{dose}_desc-restored_pet.json")
    metrics = _Below("{dataset}/{dose}/{method}/metrics.tsv")
    reliance = _Below("reliance/{experiment}/{dataset}/{dose}/{method}/fold-{fold}.tsv")
    scores = _Below("{dataset}/{dose}/diagnosis/{classifier}/fold-{fold}/scores.tsv")
    scores_history = _Below("{dataset}/{dose}/diagnosis/{classifier}/fold-{fold}/history.tsv")

    # positron range
    media = _Below("positron_range/psf_sets/{psf_set}/media.h5")
    psf_chunk = _Below("positron_range/psf_sets/{psf_set}/chunk-{chunk}.h5")
    psf = _Below("positron_range/psf_sets/{psf_set}/psf.h5")
    calibration = _Below("positron_range/calibrations/{calibration}.json")
    predictor = _Below("positron_range/predictors/{predictor}/model.safetensors")
    predictor_history = _Below("positron_range/predictors/{predictor}/history.tsv")
    predictor_cost = _Below("positron_range/predictors/{predictor}/cost.json")
    torso_activity = _Below("positron_range/torsos/{torso}/activity.nii.gz")
    torso_mu = _Below("positron_range/torsos/{torso}/mu.nii.gz")
    torso_lesions = _Below("positron_range/torsos/{torso}/lesions.nii.gz")
    torso_table = _Below("positron_range/torsos/{torso}/lesions.tsv")
    annihilation_chunk = _Below("positron_range/torsos/{torso}/chunk-{chunk}.h5")
    annihilations = _Below("positron_range/torsos/{torso}/annihilations-{part}.h5")
    predicted_kernels = _Below("positron_range/torsos/{torso}/kernels-{predictor}.h5")
    kernel_distances = _Below("positron_range/{experiment}/kernels/{predictor}/distances.tsv")
    kernel_profiles = _Below("positron_range/{experiment}/kernels/{predictor}/profiles.tsv")
    kernels = _Below("positron_range/{experiment}/kernels/{predictor}/kernels.h5")
    torso_distances = _Below("positron_range/{experiment}/torso/distances.tsv")
    torso_profiles = _Below("positron_range/{experiment}/torso/profiles.tsv")
    torso_images = _Below("positron_range/{experiment}/torso/images.h5")
    truncation = _Below("positron_range/{experiment}/truncation.tsv")
    acceleration = _Below("positron_range/{experiment}/acceleration.tsv")
    torso_scan = _Below("positron_range/{experiment}/realisation-{realisation}.h5")
    corrected = _Below("positron_range/{experiment}/{strategy}/realisation-{realisation}.nii.gz")
    corrected_sidecar = _Below("positron_range/{experiment}/{strategy}/realisation-{realisation}.json")
    measures = _Below("positron_range/{experiment}/{strategy}/measures-{realisation}.tsv")
    profiles = _Below("positron_range/{experiment}/{strategy}/profiles-{realisation}.tsv")
    summary = _Below("positron_range/{experiment}/summary.tsv")
    corrected_scan = _Below("positron_range/{experiment}/{strategy}/scan.nii.gz")
    corrected_scan_sidecar = _Below("positron_range/{experiment}/{strategy}/scan.json")
    scan_profiles = _Below("positron_range/{experiment}/profiles.tsv")

    # tables, figures and the page
    table = _Below("tables/{experiment}.tsv")
    table_markdown = _Below("tables/{experiment}.md")
    table_latex = _Below("tables/{experiment}.tex")
    record = _Below("tables/{experiment}.json")
    figure = _Below("figures/{experiment}.png")
    figure_svg = _Below("figures/{experiment}.svg")
    range_figure = _Below("figures/{experiment}-{figure}.png")
    range_figure_svg = _Below("figures/{experiment}-{figure}.svg")
    page = _Below("report/index.html")
