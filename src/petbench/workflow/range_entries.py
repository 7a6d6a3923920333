"""The entries behind experiments on positron range: PSF sets, predictors, torsos, calibrations, and the checks that no job need be started for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from petbench.errors import InputError
from petbench.workflow.library import Entry, Library, check_length
from petbench.workflow.schema import told_of

RANGE_KINDS = ("range_accuracy", "range_reconstruction", "range_scan")
# What media and torsos are made of, unless a PSF set says otherwise.
MATERIALS = ("lung", "water", "rib_bone")
# Kinds of entries that only these experiments need, and the scanners they may share with data sets.
OWN = ("psf_sets", "predictors", "torsos", "calibrations")


def add_range_experiment(library: Library, experiment: Mapping[str, Any], where: str, found: dict[str, dict[str, Entry]]) -> None:
    """Resolve all that an experiment on positron range needs into `found`, by kind and name, and check that it fits together.

    Args:
        library: Where entries are found.
        experiment: Resolved, of one of `RANGE_KINDS`.
        where: Its file, for messages.
        found: By kind, `scanners` and those of `OWN`.

    Raises:
        InputError: an entry is missing or not usable, or they are of several isotopes, voxels or sources.
    """

    def add(kind: str, name: str, asked_by: str) -> Entry:
        if name not in found[kind]:
            found[kind][name] = library.resolve_whole(kind, name, asked_by)
        return found[kind][name]

    if "published" in experiment and not (library.resources / f"{experiment['published']}.tsv").is_file():
        raise InputError(f"{where}: published: there is no {experiment['published']!r} in resources/published; correct the name.")
    if "scan" in experiment:
        _check_scan(experiment["scan"], where)
    psf_sets, torsos = [(name, f"{where}: runs") for name in experiment.get("runs", [])], []
    psf_sets += [(experiment["fast"], f"{where}: fast")] if "fast" in experiment else []
    predictors = experiment.get("predictors", [experiment.get("predictor")])
    for name in predictors:
        predictor = add("predictors", name, f"{where}: predictor")
        path = library.files["predictors"][name]
        _check_predictor(predictor, str(path))
        psf_sets += [(used, f"{path}: psf_sets") for used in _trained_on(predictor)] + [(predictor["kernels"], f"{path}: kernels")]
    for name, asked_by in psf_sets:
        psf_set, place = add("psf_sets", name, asked_by), str(library.files["psf_sets"][name])
        _check_psf_set(psf_set, place)
        _add_calibration(psf_set, psf_set.get("materials", MATERIALS), place, add)
    for block in (experiment, experiment.get("scan", {})):
        if "torso" in block:
            torso = add("torsos", block["torso"], f"{where}: torso")
            place = str(library.files["torsos"][block["torso"]])
            _check_torso(torso, place)
            _add_calibration(torso, MATERIALS, place, add)
            add("scanners", torso["scanner"], f"{place}: scanner")
            torsos.append((block["torso"], torso))
    if "scanner" in experiment.get("scan", {}):
        add("scanners", experiment["scan"]["scanner"], f"{where}: scan/scanner")

    used = {name: found["predictors"][name] for name in predictors}
    imported = [(name, entry["weights"]) for name, entry in used.items() if "weights" in entry]
    _check_alike([(name, _facts_of(found["psf_sets"][name])) for name, _ in psf_sets] + imported, torsos, where)
    _check_sizes(list(used.values()), found["psf_sets"], where)
    _check_fast(experiment, found["psf_sets"], where)
    _check_seeds(experiment, list(used.values()), found["psf_sets"], where)
    _check_reconstruction(experiment, found, where)


def _add_calibration(entry: Mapping[str, Any], materials: Sequence[str], path: str, add: Callable[[str, str, str], Entry]) -> None:
    """Resolve and check the calibration that an entry's fast engine takes its constants from."""
    from petbench.positron_range.calibration import Calibration

    name = entry["gate"].get("calibration")
    if name is None:
        return
    calibration = add("calibrations", name, f"{path}: gate/calibration")
    with told_of(path):
        if entry["gate"].get("engine", "gate") != "fast":
            raise InputError("gate/calibration: only the fast engine is calibrated; set engine: fast, or take it out.")
        if own := [key for key in ("scattering", "slope") if key in entry["gate"]]:
            raise InputError(f"gate/{own[0]}: {name} gives it; take one of the two out.")
        if missing := [material for material in materials if material not in calibration["materials"]]:
            raise InputError(f"gate/calibration: {name} has no {missing[0]}; add it to its materials.")
    with told_of(f"calibration {name}"):
        Calibration.from_entry(calibration)


def _check_fast(experiment: Mapping[str, Any], psf_sets: Mapping[str, Entry], where: str) -> None:
    """The fast engine is compared with the runs in the same media, with as many positrons."""
    if "fast" not in experiment:
        return
    name, first = experiment["fast"], psf_sets[experiment["runs"][0]]
    fast = psf_sets[name]
    if fast["gate"].get("engine") != "fast":
        raise InputError(f"{where}: fast: {name} is not of the fast engine; set its gate/engine.")
    if fast["media"] != first["media"] or fast["gate"]["positrons"] != first["gate"]["positrons"]:
        raise InputError(f"{where}: fast: {name} must have the media and positrons of {experiment['runs'][0]}; mend it.")


def _check_scan(scan: Mapping[str, Any], where: str) -> None:
    """Either a lab's files or what is simulated in their place, and all of it."""
    kinds = [("acquisition", "mu", "scanner"), ("torso", "simulation", "seed")]
    begun = [kind for kind in kinds if any(key in scan for key in kind)]
    if len(begun) != 1:
        raise InputError(f"{where}: scan: give {' and '.join(kinds[0])} of a lab's scan, or {' and '.join(kinds[1])}; null removes a key.")
    if missing := [key for key in begun[0] if key not in scan]:
        raise InputError(f"{where}: scan: key {missing[0]!r} is missing; add it.")
    for key in ("acquisition", "mu"):
        if key in scan and not Path(scan[key]).is_file():
            raise InputError(f"{where}: scan/{key}: there is no file {scan[key]}; correct the path.")


def _check_predictor(entry: Mapping[str, Any], path: str) -> None:
    """It is trained, or its weights are taken from a file."""
    if "weights" in entry:
        if begun := [key for key in ("train", "psf_sets") if key in entry]:
            raise InputError(f"{path}: {begun[0]}: weights are taken as they are; set {begun[0]} to null, or take weights out.")
        if not Path(entry["weights"]["file"]).is_file():
            raise InputError(f"{path}: weights/file: there is no file {entry['weights']['file']}; correct the path.")
        return
    for key in ("train", "psf_sets"):
        if key not in entry:
            raise InputError(f"{path}: key {key!r} is missing; add it, or take weights from a file.")
    check_length(entry["train"], path)


def _trained_on(predictor: Mapping[str, Any]) -> list[str]:
    """PSF sets that a predictor is trained on: none where its weights are taken from a file."""
    return list(predictor.get("psf_sets", []))


def _facts_of(psf_set: Mapping[str, Any]) -> dict[str, Any]:
    """What all PSF sets of an experiment share."""
    gate = psf_set["gate"]
    return {"isotope": gate["isotope"], "voxel_mm": psf_set.get("voxel_mm", 2.0), "source": gate.get("source", "point")}


def _check_psf_set(entry: Mapping[str, Any], path: str) -> None:
    from petbench.positron_range.cohort import make_media
    from petbench.positron_range.gate import Simulation

    with told_of(path):
        Simulation.from_entry(_uncalibrated(entry["gate"]))
        # One random medium a group shows what is wrong with a group, without the time that a thousand take.
        made = make_media({**entry, "media": [{**group, "count": 1} if "count" in group else group for group in entry["media"]]})
        count = len(made.names) + sum(group.get("count", 1) - 1 for group in entry["media"])
        if entry["chunks"] > count:
            raise InputError(f"chunks: {entry['chunks']} are more than the {count} media; lower it.")


def _uncalibrated(gate: Mapping[str, Any]) -> dict[str, Any]:
    """A block without the name of its calibration, whose constants are not known yet."""
    return {key: value for key, value in gate.items() if key != "calibration"}


def _check_torso(entry: Mapping[str, Any], path: str) -> None:
    from petbench.positron_range.gate import Simulation
    from petbench.positron_range.torso import TorsoSettings

    with told_of(path):
        Simulation.from_entry(_uncalibrated(entry["gate"]))
        if "supplied" in entry["torso"] and len(entry["torso"]) > 1:
            raise InputError("torso: a supplied torso takes no keys of the embedded one; keep one kind.")
        if "supplied" not in entry["torso"]:
            TorsoSettings.from_entry(entry["torso"])


def _check_alike(sources: list[tuple[str, Mapping[str, Any]]], torsos: list[tuple[str, Entry]], where: str) -> None:
    """One isotope, voxel and source throughout."""
    facts: dict[str, tuple[str, Any]] = {}
    for name, own in sources:
        for fact in ("isotope", "voxel_mm", "source"):
            value = own[fact]
            first, known = facts.setdefault(fact, (name, value))
            if value != known:
                raise InputError(f"{where}: {fact}: {name} has {value}, but {first} has {known}; use entries of one {fact}.")
    for name, entry in torsos:
        first, known = facts["isotope"]
        if entry["gate"]["isotope"] != known:
            raise InputError(
                f"{where}: isotope: {name} has {entry['gate']['isotope']}, but {first} has {known}; use entries of one isotope."
            )


def _check_sizes(predictors: list[Entry], psf_sets: Mapping[str, Entry], where: str) -> None:
    """No kernel is larger than what was scored, in the sets or in the experiment's own."""
    for predictor in predictors:
        size = predictor.get("weights", predictor.get("train", {}))["kernel_size"]
        for name in [*_trained_on(predictor), predictor["kernels"]]:
            scored = psf_sets[name]["gate"].get("kernel_size", 21)
            if size % 2 == 0 or size > scored:
                raise InputError(
                    f"{where}: train/kernel_size: {size} of {predictor['title']!r} is even or larger than the {scored} scored in {name};"
                    " choose an odd size up to that."
                )


def _check_seeds(experiment: Mapping[str, Any], predictors: list[Entry], psf_sets: Mapping[str, Entry], where: str) -> None:
    """Nothing is compared with what it was trained on: not the noise of a run, and not a medium."""
    runs = experiment.get("runs", [])
    if not runs:
        return
    first, second = (psf_sets[name] for name in runs)
    if {key: first[key] for key in ("media", "gate")} != {key: second[key] for key in ("media", "gate")} or first["seed"] == second["seed"]:
        raise InputError(f"{where}: runs: {runs[1]} must have the media and gate of {runs[0]} and another seed; mend it.")
    for predictor in predictors:
        for name in [*_trained_on(predictor), predictor["kernels"]]:
            entry = psf_sets[name]
            if entry["seed"] in (first["seed"], second["seed"]):
                raise InputError(f"{where}: runs: {name}, which {predictor['title']!r} is made from, has the seed of one; give it another.")
        trained = {medium for name in _trained_on(predictor) for medium in _random_media(psf_sets[name])}
        if shared := sorted(trained & set(_random_media(first))):
            kind, seed, index = shared[0]
            raise InputError(f"{where}: runs: {predictor['title']!r} is trained on {kind} medium {index} of seed {seed}; hold it out.")


def _random_media(psf_set: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Kind, seed and index of each random medium."""
    for group in psf_set["media"]:
        if group["kind"] in ("random", "official"):
            yield from ((group["kind"], group["seed"], group.get("first", 0) + index) for index in range(group["count"]))


def _check_reconstruction(experiment: Mapping[str, Any], found: Mapping[str, Mapping[str, Entry]], where: str) -> None:
    from petbench.physics.doses import check_doses
    from petbench.physics.scanner import Scanner
    from petbench.positron_range.study import check_reconstruction, check_study

    if "reconstruction" not in experiment:
        return
    scanned = experiment if experiment["kind"] == "range_reconstruction" else experiment["scan"]
    with told_of(where):
        check_reconstruction(experiment["reconstruction"])
        if "torso" in scanned:
            torso = found["torsos"][scanned["torso"]]
            check_study(scanned["simulation"], experiment["reconstruction"], torso["gate"]["positrons"])
            scanner = Scanner.from_entry(found["scanners"][torso["scanner"]])
            check_doses({}, scanned["simulation"], {"subsets": 1, **experiment["reconstruction"]}, scanner)
            subsets = experiment["reconstruction"].get("subsets", 1)
            if subsets > scanner.views:
                raise InputError(f"reconstruction/subsets: {subsets} exceed the scanner's {scanner.views} views; lower it.")
