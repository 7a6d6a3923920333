"""Experiment 1: how near the predicted kernels and blurred images are to GATE (DDConv, section III-B, figures 4 and 5)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.files import atomic
from petbench.positron_range.annihilation_images import AnnihilationImage, check_torso, read_annihilations
from petbench.positron_range.ddconv import DDConvSettings, homogeneous_map, shared_kernels
from petbench.positron_range.homogeneity import material_labels
from petbench.positron_range.long_tables import write_long_table
from petbench.positron_range.material_kernels import MaterialKernels, kernels_of, material_kernels, truncated_fractions
from petbench.positron_range.measures import (
    EPSILON,
    axis_profiles,
    distances_to_runs,
    image_distances,
    mean_range_mm,
    middle_voxel,
    near_interfaces,
)
from petbench.positron_range.media import around_the_middle
from petbench.positron_range.psf_set import PsfSet, read_psf_set
from petbench.positron_range.strategies import strategy_operator
from petbench.positron_range.study import STRATEGIES
from petbench.positron_range.svtd import svtd
from petbench.positron_range.torso import Torso
from petbench.positron_range.torso_files import read_torso

if TYPE_CHECKING:
    from petbench.positron_range.predictor import Predictor

Array = NDArray[np.float32]
Files = Mapping[str, str | Path]

# What counts as near an interface: voxels closer to another material than this.
INTERFACE_MM = 6.0
# Share by which the positrons of two runs may differ, as those of chunks do.
ALIKE = 0.01
# How far from a lesion its surroundings are compared with it.
LESION_MARGIN_MM = 6.0


def compare_kernels(
    runs: Sequence[str | Path],
    weights: str | Path,
    kernels: str | Path,
    out: Files,
    epsilon: float = EPSILON,
    settings: Mapping[str, Any] | None = None,
    fast: str | Path | None = None,
) -> None:
    """Compare the kernels of DDConv and SVTD with two independent runs of GATE, medium by medium.

    `ddconv` is what the operator applies: where the medium is homogeneous, the material's kernel by Monte Carlo (appendix); `network` is
    G_theta everywhere.

    Args:
        runs: Two sets of point spread functions of the same media (experiment 1's phantoms, homogeneous ones, held-out random ones) and
            positrons, with different seeds.
        weights: A trained predictor.
        kernels: A set of point spread functions with the homogeneous materials, of another seed than the runs.
        out: Files to write: `distances` (TSV: medium, model, quantity, value; quantities as in `measures.distances_to_runs`, and
            `mean_range_mm` of every model and of `gate`), `profiles` (TSV: medium, model, axis, position_mm, line, projection) and
            `kernels` (HDF5: a dataset (media, K, K, K) a model, `mu`, and the media's names).
        epsilon: As for `measures.kl_divergence`.
        settings: Keys of `DDConvSettings`.
        fast: The same media by the fast engine, compared as `fast`. It has as many positrons and noise of its own, so that
            where it is exact its distance to a run is that of a further run.

    Raises:
        InputError: the sets are of different media, isotopes, voxels or sources, are one run given twice, or the predictor or kernels
            do not fit them.
    """
    from petbench.positron_range.predictor import load_predictor

    first, second = (read_psf_set(path) for path in runs)
    check_runs(first, second, runs)
    voxel_mm = (first.origin.voxel_mm,) * 3
    predictor = load_predictor(weights, isotope=first.origin.isotope, voxel_mm=voxel_mm)
    own, materials = predictor.description, read_psf_set(kernels)
    for path, source in ((weights, own.source), (kernels, materials.origin.source)):
        if source != first.origin.source:
            raise InputError(f"{path}: of a {source} source, but the reference has a {first.origin.source} source; simulate them alike.")
    if materials.origin.seed in (first.origin.seed, second.origin.seed):
        raise InputError(f"{kernels}: has the seed of a reference, whose noise it would share; simulate it with another seed.")
    homogeneous = material_kernels(materials, own.kernel_size, own.tail)
    media = middle_of(first.mu, own.kernel_size)
    of_runs = [kernels_of(run, own.kernel_size, own.tail) for run in (first, second)]
    network = predicted(media, predictor)
    found: dict[str, Array] = {
        "gate": kernels_of(joined(first, second), own.kernel_size, own.tail),
        "svtd": svtd_kernels(media, homogeneous),
        "ddconv": with_shared(network, media, predictor, homogeneous, DDConvSettings(**(settings or {}))),
        "network": network,
    }
    if fast is not None:
        found["fast"] = kernels_of(of_engine(fast, first, runs[0]), own.kernel_size, own.tail)
    distances, profiles = [], []
    for index, medium in enumerate(first.names):
        for model, cubes in found.items():
            values = {"mean_range_mm": mean_range_mm(cubes[index], voxel_mm[0])}
            if model != "gate":
                values |= distances_to_runs((of_runs[0][index], of_runs[1][index]), cubes[index], epsilon)
            distances += [{"medium": medium, "model": model, "quantity": name, "value": value} for name, value in values.items()]
            middle = (own.kernel_size // 2,) * 3
            profiles += [{"medium": medium, "model": model, **row} for row in axis_profiles(cubes[index], middle, voxel_mm)]
    write_long_table(out["distances"], distances)
    write_long_table(out["profiles"], profiles)
    attributes = {"voxel_mm": voxel_mm[0], "isotope": own.isotope, "tail": own.tail, "epsilon": epsilon, "media": list(first.names)}
    write_arrays(out["kernels"], {**found, "mu": media}, attributes)


def of_engine(path: str | Path, run: PsfSet, of_run: str | Path) -> PsfSet:
    """Read what the fast engine made of a run's media.

    Raises:
        InputError: media, positrons, isotope, voxels or source are others.
    """
    psfs = read_psf_set(path)
    for name in ("isotope", "voxel_mm", "source"):
        if getattr(psfs.origin, name) != getattr(run.origin, name):
            raise InputError(f"{path}: its {name} is not that of {of_run}; simulate both alike.")
    check_media(psfs, run, path, of_run)
    return psfs


def check_media(psfs: PsfSet, run: PsfSet, path: str | Path, of_run: str | Path) -> None:
    """Check that two sets are of the same media and positrons.

    Raises:
        InputError: they are not.
    """
    same = psfs.names == run.names and psfs.mu.shape == run.mu.shape and np.array_equal(psfs.mu, run.mu)
    if not same or not np.array_equal(psfs.positrons, run.positrons):
        raise InputError(f"{path}: its media or positrons are not those of {of_run}; simulate the same media twice.")


def check_runs(first: PsfSet, second: PsfSet, paths: Sequence[str | Path]) -> None:
    """Check that two sets are independent runs of one simulation.

    Raises:
        InputError: they differ in media, grid, positrons or physics, or share their seed.
    """
    for name in ("isotope", "voxel_mm", "source", "physics", "data"):
        if getattr(first.origin, name) != getattr(second.origin, name):
            raise InputError(f"{paths[1]}: its {name} is not that of {paths[0]}; simulate both alike.")
    check_media(second, first, paths[1], paths[0])
    if first.origin.seed == second.origin.seed:
        raise InputError(f"{paths[1]}: has the seed of {paths[0]}, so the two are one run; simulate it with another seed.")


def joined(first: PsfSet, second: PsfSet) -> PsfSet:
    """Two runs as one of twice the positrons."""
    sums = (first.counts + second.counts, first.outside + second.outside, first.positrons + second.positrons)
    return PsfSet(first.names, first.mu, *sums, first.origin)


def middle_of(cubes: Array, size: int) -> Array:
    """The `size` voxels around the middle of cubes (N, K, K, K)."""
    cut = around_the_middle(cubes.shape[-1], size)
    return np.ascontiguousarray(cubes[:, cut, cut, cut])


def svtd_kernels(media: Array, kernels: MaterialKernels) -> Array:
    """SVTD's kernel of a source in the middle of each medium (N, K, K, K), attenuation per cm."""
    point = np.zeros(media.shape[1:], dtype=np.float32)
    point[(media.shape[-1] // 2,) * 3] = 1
    return np.stack([svtd(mu, (kernels.voxel_mm,) * 3, kernels, kernels.isotope, threads=1)(point).clip(0) for mu in media])


def predicted(media: Array, predictor: "Predictor", batch: int = 64) -> Array:
    """A predictor's kernels of media (N, K, K, K), attenuation per cm."""
    import torch

    parts = (torch.from_numpy(media[start : start + batch]).to(predictor.device) for start in range(0, len(media), batch))
    return np.concatenate([predictor.kernels(part).cpu().numpy() for part in parts])


def with_shared(network: Array, media: Array, predictor: "Predictor", homogeneous: MaterialKernels, settings: DDConvSettings) -> Array:
    """Predicted kernels (N, K, K, K), but the one of its material in media that are homogeneous as far as positrons get."""
    middle, applied, materials = (media.shape[-1] // 2,) * 3, network.copy(), predictor.description.materials
    kernels = shared_kernels(predictor, homogeneous if settings.shared == "simulated" else None)
    for index, mu in enumerate(media):
        labels = material_labels(mu, materials, settings.nearest, settings.air)
        material = int(homogeneous_map(labels, kernels, list(materials), settings, threads=1)[middle])
        if material >= 0:
            applied[index] = kernels[material]
    return applied


def truncation_table(psfs: str | Path, out: str | Path, sizes: Sequence[int] = (11, 15, 21)) -> None:
    """Write the share of annihilations that kernels of several sizes cut off: medium, kernel_size, value (TSV), and the mean range.

    Args:
        psfs: A set of point spread functions, such as the homogeneous materials'.
        out: The table.
        sizes: Edges of kernels in voxels, at most the set's.

    Raises:
        InputError: the set is not readable, or a size is larger than its kernels.
    """
    found = read_psf_set(psfs)
    rows = [
        {"medium": medium, "kernel_size": size, "quantity": "truncated_fraction", "value": share}
        for size in sizes
        for medium, share in truncated_fractions(found, size).items()
    ]
    rows += [
        {
            "medium": medium,
            "kernel_size": found.kernel_size,
            "quantity": "mean_range_mm",
            "value": mean_range_mm(counts, found.origin.voxel_mm),
        }
        for medium, counts in zip(found.names, found.counts, strict=True)
    ]
    write_long_table(out, rows)


def compare_torso(
    torso: Files,
    runs: Sequence[str | Path],
    files: Files,
    out: Files,
    interface_mm: float = INTERFACE_MM,
    epsilon: float = EPSILON,
    settings: Mapping[str, Any] | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> None:
    """Compare a torso's activity blurred by DDConv, by SVTD and not at all with where GATE's positrons annihilate.

    Args:
        torso: Files of `torso_files.write_torso`: `activity`, `mu`, `lesions`.
        runs: Two annihilation images of it, of different chunks.
        files: `weights`, a trained predictor, and `kernels`, a set of point spread functions with the homogeneous materials.
        out: Files to write: `distances` (TSV: region, model, quantity, value as in `measures.image_distances`; regions are `body`,
            `interfaces` and each `lesion-N` with its surroundings), `profiles` (TSV: lesion, model, axis, position_mm, line) through every
            lesion, `activity` and `gate` among the models, and `images` (HDF5: a dataset a model, (x, y, z) in Bq/ml).
        interface_mm: What is near an interface: voxels closer to another material.
        epsilon: As for `measures.kl_divergence`.
        settings: Keys of `DDConvSettings`.
        device: Where kernels are predicted.
        threads: Threads to run on, None for numba's own number.

    Raises:
        InputError: the runs are of another torso or share a chunk, or the predictor or kernels do not fit.
    """
    subject = read_torso(torso)
    first, second = (read_annihilations(path) for path in runs)
    check_images(subject, first, second, runs)
    images: dict[str, Array] = {"activity": subject.activity, "gate": gate_activity(first, second)}
    for model in STRATEGIES:
        operator = strategy_operator(model, subject.mu, subject.voxel_mm, first.isotope, files, settings, device, threads)
        # Convolution by Fourier transform leaves rounding errors below zero.
        images[model] = operator(subject.activity).clip(0)
    regions = dict(torso_regions(subject, near_interfaces(subject.labels, subject.voxel_mm, interface_mm)))
    of_runs = (first.activity, second.activity)
    distances = [
        {"region": region, "model": model, "quantity": name, "value": value}
        for region, mask in regions.items()
        for model in STRATEGIES
        for name, value in image_distances(of_runs, images[model], mask, epsilon).items()
    ]
    write_long_table(out["distances"], distances)
    write_long_table(out["profiles"], torso_profiles(subject, images))
    write_arrays(out["images"], {**images, "mu": subject.mu}, {"voxel_mm": subject.voxel_mm, "isotope": first.isotope, "epsilon": epsilon})


def gate_activity(first: AnnihilationImage, second: AnnihilationImage) -> Array:
    """The mean of two runs, each weighted by its positrons."""
    total = first.positrons + second.positrons
    return ((first.activity * first.positrons + second.activity * second.positrons) / total).astype(np.float32)


def check_images(torso: Torso, first: AnnihilationImage, second: AnnihilationImage, paths: Sequence[str | Path]) -> None:
    """Check that two annihilation images are independent runs of a torso.

    Raises:
        InputError: they are of another torso or isotope, or share a chunk.
    """
    for path, image in zip(paths, (first, second), strict=True):
        check_torso(image, torso, path)
    if first.isotope != second.isotope or abs(first.positrons / second.positrons - 1) > ALIKE:
        raise InputError(f"{paths[1]}: its isotope or positrons are not those of {paths[0]}; simulate both alike.")
    if set(first.parts) & set(second.parts):
        raise InputError(f"{paths[1]}: shares a chunk with {paths[0]}, so the two are not independent; give different chunks.")


def torso_regions(torso: Torso, interfaces: NDArray[np.bool_]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Where images are compared: the body, its voxels near interfaces, and each lesion with its surroundings."""
    from scipy.ndimage import distance_transform_edt

    body = torso.activity > 0
    yield "body", body
    yield "interfaces", body & interfaces
    for lesion in torso.lesion_names:
        distance = distance_transform_edt(torso.lesions != int(lesion), sampling=list(torso.voxel_mm))
        yield f"lesion-{lesion}", body & (distance <= LESION_MARGIN_MM)


def torso_profiles(torso: Torso, images: Mapping[str, Array]) -> Iterator[dict[str, Any]]:
    """Rows of profiles of several images along the axes through the middle of every lesion."""
    for lesion in torso.lesion_names:
        centre = middle_voxel(torso.lesions == int(lesion))
        for model, image in images.items():
            for row in axis_profiles(image, centre, torso.voxel_mm):
                yield {"lesion": lesion, "model": model, "axis": row["axis"], "position_mm": row["position_mm"], "line": row["line"]}


def write_arrays(path: str | Path, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]) -> None:
    """Write named arrays and attributes as HDF5."""
    import h5py

    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, compression="gzip", shuffle=True)
        file.attrs.update(attributes)
