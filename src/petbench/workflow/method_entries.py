"""Entries of methods: resolved with all that they refer to, and checked by themselves and against it."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from petbench.errors import InputError
from petbench.workflow.dataset_entries import add_dataset, check_dose
from petbench.workflow.library import Entry, Library, check_length
from petbench.workflow.modules import check_module
from petbench.workflow.names import MORE_INPUTS, UNRESTORED
from petbench.workflow.schema import check, told_of

STEP_SAMPLERS, EDM_SAMPLERS = ("ancestral", "ddim"), ("heun", "euler")
"""Samplers of a process in steps (`train/diffusion`) and of EDM's noise levels (`train/edm`), as in `petbench.methods`."""


def add_method(
    library: Library, name: str, where: str, methods: dict[str, Entry], datasets: dict[str, Entry], above: Sequence[str] = ()
) -> None:
    """Resolve a method into `methods`, and the methods and data sets that it refers to, unless it is there or is an image of the data set.

    Raises:
        InputError: one of them is missing or cannot be used, they refer to each other in a circle, or do not fit together.
    """
    if name in above:
        raise InputError(f"{where}: methods refer to each other in a circle ({' -> '.join([*above, name])}); cut it.")
    if name in methods or name in UNRESTORED:
        return
    entry = library.resolve_whole("methods", name, where)
    path = library.files["methods"][name]
    for key in ("init_from", "weights_of"):
        if key in entry:
            reference = entry[key]
            add_method(library, reference.get("method", name), f"{path}: {key}", methods, datasets, (*above, name))
            if "dataset" in reference:
                add_dataset(library, reference["dataset"], f"{path}: {key}", datasets)
                if "dose" in reference:
                    check_dose(datasets, reference["dataset"], reference["dose"], f"{path}: {key}")
    if "context" in entry:
        context = entry["context"]["method"]
        add_method(library, context, f"{path}: context", methods, datasets, (*above, name))
        if "ensemble" in methods[context]:
            raise InputError(f"{path}: context: {context!r} is an ensemble, which has no weights of its own; name one of its methods.")
    for part in entry.get("ensemble", []):
        add_method(library, part, f"{path}: ensemble", methods, datasets, (*above, name))
    for other in entry.get("also_train_on", []):
        add_dataset(library, other["dataset"], f"{path}: also_train_on", datasets)
        check_dose(datasets, other["dataset"], other["dose"], f"{path}: also_train_on")
    kinds = [key for key in ("train", "weights_of", "ensemble") if key in entry]
    if len(kinds) != 1:
        have = " and ".join(kinds) or "none"
        raise InputError(f"{path}: an entry has exactly one of train, weights_of and ensemble (here: {have}); keep one.")
    needed = {"fuse"} if "ensemble" in entry else {"inputs", "batch_size"}
    if missing := sorted(needed - entry["restore"].keys()):
        raise InputError(f"{path}: restore: key {missing[0]!r} is missing; add it.")
    if "train" in entry:
        check_length(entry["train"], path)
        with told_of(path):
            check_module(entry["module"], entry["train"], library.module_schema(entry["module"]))
    if ("context" in entry) != ("context" in entry["restore"].get("inputs", [])):
        raise InputError(f"{path}: restore/inputs name context where the entry has a `context`, and only there; give both, or neither.")
    if "wavelet" in entry["restore"]:
        _check_wavelet(entry["restore"]["wavelet"], path)
    _check_restoring(library, entry["restore"], trained(methods, entry), str(path))
    if "train" in entry and "init_from" in entry:
        _check_start(entry, trained(methods, methods[entry["init_from"]["method"]]), str(path))
    methods[name] = entry


def trained(methods: Mapping[str, Entry], entry: Entry) -> Entry:
    """The entry whose training makes the weights that one runs with; references to an entry itself were refused as circles."""
    return trained(methods, methods[entry["weights_of"]["method"]]) if "weights_of" in entry else entry


def _check_start(entry: Entry, start: Entry, where: str) -> None:
    """Check that a training can begin with another's weights; what an entry does not tell, and whether a part fits, is found on loading."""

    def shape(of: Entry, key: str) -> Any:
        block = of.get("module") if key == "module" else of.get("train", {}).get(key)
        return {name: value for name, value in block.items() if name != "dropout"} if isinstance(block, dict) else block

    if "part" in entry["init_from"]:
        return
    for key in ("module", "network", "discriminator", "conditions"):
        if shape(entry, key) != shape(start, key):
            named = key if key == "module" else f"train/{key}"
            raise InputError(f"{where}: init_from: those weights are of another {named} ({start['title']}); give both the same.")


def _check_restoring(library: Library, restore: Entry, source: Entry, where: str) -> None:
    """Check that a `restore` block fits the `train` block of the weights that it runs with (none: an ensemble)."""
    train = source.get("train", {})
    diffusion, samples = train.get("diffusion", {}), "diffusion" in train or "edm" in train
    timesteps, bounds = diffusion.get("timesteps"), diffusion.get("range")
    if bounds is not None and bounds[0] >= bounds[1]:
        raise InputError(f"{where}: train/diffusion/range: {bounds[0]} is not below {bounds[1]}; give a lower value and then a higher one.")
    sampler = restore.get("sampler")
    if not samples and sampler is not None:
        raise InputError(f"{where}: restore/sampler: this method does not sample; remove it.")
    if samples and sampler is None:
        raise InputError(f"{where}: restore: this method samples and has no sampler; add restore/sampler.")
    if sampler is not None and (sampler["name"] in EDM_SAMPLERS) != ("edm" in train):
        fitting = EDM_SAMPLERS if "edm" in train else STEP_SAMPLERS
        raise InputError(
            f"{where}: restore/sampler/name: {sampler['name']} does not draw images of this method; choose {' or '.join(fitting)}."
        )
    if sampler is not None and timesteps is not None and sampler["steps"] > timesteps:
        raise InputError(
            f"{where}: restore/sampler/steps: {sampler['steps']} exceed the {timesteps} that the method is trained with"
            " (train/diffusion/timesteps); take fewer."
        )
    if "module" in source:
        further = library.module_schema(source["module"]).get("more", [])
        if unknown := [kind for kind in restore["inputs"] if kind in MORE_INPUTS and kind not in further]:
            raise InputError(f"{where}: restore/inputs: the module {source['module']} takes no {unknown[0]}; take it out.")
        check({"train": source["train"], "restore": restore}, library.module_schema(source["module"]).get("together", {}), where)


def _check_wavelet(wavelet: str, path: Path) -> None:
    import pywt

    known = pywt.wavelist(kind="discrete")
    if wavelet not in known:
        close = difflib.get_close_matches(wavelet, known, n=3) or ["haar", "db2", "sym4"]
        raise InputError(f"{path}: restore/wavelet: PyWavelets has no discrete wavelet {wavelet!r}; give one such as {', '.join(close)}.")
