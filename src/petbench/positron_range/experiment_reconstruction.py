"""Experiment 2: the torso, scanned and reconstructed with each strategy, over noise realisations (DDConv, section III-C)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.nifti import read_frames
from petbench.errors import InputError
from petbench.files import read_json, write_json
from petbench.physics.acquisition import Acquisition, read_acquisition, write_acquisition
from petbench.physics.doses import STANDARD, Block, resolve_dose
from petbench.physics.events import Sinogram
from petbench.physics.operators import ForwardModel
from petbench.physics.projectors import projector_of
from petbench.physics.scanner import Scanner
from petbench.physics.simulate import acquire, resolution
from petbench.positron_range.annihilation_images import AnnihilationImage, check_torso, read_annihilations
from petbench.positron_range.corrected_reconstruction import Stopwatch, reconstructed, sidecar, write_images
from petbench.positron_range.long_tables import read_long_tables, write_long_table
from petbench.positron_range.measures import Mask, Row, axis_profiles, background_of, lesion_measures, lesion_parts, middle_voxel
from petbench.positron_range.strategies import strategy_operator
from petbench.positron_range.study import ANNIHILATIONS_A_COUNT, check_reconstruction, parted
from petbench.positron_range.torso import MATERIALS, Torso
from petbench.positron_range.torso_files import read_torso

Array = NDArray[np.float32]
Files = Mapping[str, str | Path]

# Distances from a lesion's edge between which its background lies.
BACKGROUND_MM = (2.0, 8.0)
TEXT = ("model", "realisation", "iteration", "lesion", "part", "quantity")


def simulate_realisation(
    torso: Files, annihilations: str | Path, scanner: Scanner, simulation: Block, seed: int, realisation: int, out: str | Path
) -> None:
    """Scan a torso's annihilations once and write the acquisition; realisations differ in their noise alone.

    Args:
        torso: Files of `torso_files.write_torso`: `activity`, `mu`, `lesions`.
        annihilations: Where its positrons annihilate.
        scanner: The geometry.
        simulation: As for `petbench.physics.simulate.acquire`: `counts`, `psf_mm` (the paper's 4.4), `randoms_fraction`,
            `scatter_fraction`, `geometry`, `tof`, `format`, ...; the isotope is the annihilations'.
        seed: Of all realisations.
        realisation: Which one, from 1.
        out: The acquisition, `.h5`.

    Raises:
        InputError: the annihilations are too few for the counts or of another torso, or the simulation is not possible.
    """
    subject, image = read_torso(torso), read_annihilations(annihilations)
    check_annihilations(image, subject, simulation["counts"], str(annihilations))
    write_acquisition(out, scan_of(subject, image.activity, scanner, simulation, image.isotope, seed, realisation), scanner)


def check_annihilations(image: AnnihilationImage, torso: Torso, counts: float, path: str) -> None:
    """Check that annihilations are a torso's, and enough for a scan of some counts.

    Raises:
        InputError: they are not.
    """
    check_torso(image, torso, path)
    if image.positrons < ANNIHILATIONS_A_COUNT * counts:
        raise InputError(
            f"{path}: {image.positrons:.3g} annihilations for {counts:.3g} counts add noise of their own; give at least"
            f" {ANNIHILATIONS_A_COUNT * counts:.3g} positrons, or lower simulation/counts."
        )


def scan_of(
    torso: Torso,
    annihilations: Array,
    scanner: Scanner,
    simulation: Block,
    isotope: str,
    seed: int,
    realisation: int,
    noise: bool = True,
    threads: int | None = None,
) -> Acquisition:
    """Scan annihilations: attenuation, resolution, randoms and scatter, Poisson noise.

    Args:
        torso: For its attenuation.
        annihilations: Bq/ml, (x, y, z).
        scanner: The geometry.
        simulation: As for `simulate_realisation`.
        isotope: The positron emitter.
        seed: Of all realisations.
        realisation: Which one, from 1.
        noise: Whether counts are drawn; else they are the expected ones, which a reconstruction takes as well, but no file holds.
        threads: Threads of the projector, None for all.
    """
    given = {**simulation, "isotope": isotope}
    name = f"realisation {realisation}"
    scan = acquire(annihilations, torso.mu, scanner, given, resolve_dose(STANDARD, given, seed), seed, name, threads)
    if noise:
        return scan
    if not isinstance(scan.data, Sinogram):
        raise InputError("simulation/format: events have noise; use sinogram for a scan without.")
    projector = projector_of(scanner, scan.geometry, scan.tof, threads)
    model = ForwardModel(projector, scan.factors, scan.scale, resolution(simulation["psf_mm"], scanner), scan.data.background)
    expected: Any = model.expected(annihilations)
    return replace(scan, data=Sinogram(expected, scan.data.background))


def predict_kernels(
    torso: Files, isotope: str, files: Files, out: str | Path, settings: Mapping[str, Any] | None = None, device: str = "cpu"
) -> None:
    """Predict a torso's kernels once for all of its scans.

    Args:
        torso: Files of `torso_files.write_torso`.
        isotope: The scans'.
        files: `weights` and `kernels`, as `strategies.strategy_operator` takes them.
        out: The kernels, `.h5`.
        settings: Keys of `DDConvSettings`.
        device: `cpu` or `cuda`.

    Raises:
        InputError: the attenuation or the files do not fit each other.
    """
    subject = read_torso(torso)
    strategy_operator("ddconv", subject.mu, subject.voxel_mm, isotope, files, settings, device, keep=out)


def reconstruct_realisations(
    acquisitions: Sequence[str | Path],
    torso: Files,
    scanner: Scanner,
    strategy: str,
    files: Files,
    reconstruction: Block,
    out: Sequence[Files],
    settings: Mapping[str, Any] | None = None,
    threads: int | None = None,
    device: str = "cpu",
    penalty: Block | None = None,
) -> None:
    """Reconstruct realisations with one strategy, whose kernels are predicted once, and write the images at the chosen iterations.

    Args:
        acquisitions: Of `simulate_realisation`.
        torso: Files of `torso_files.write_torso`.
        scanner: The geometry.
        strategy: One of `study.ROWS`: `none`, `svtd` or `ddconv`, with or without a penalty.
        files: `weights`, `kernels` and `predicted`, as the strategy needs them (`strategies.strategy_operator`).
        reconstruction: As for `corrected_reconstruction.check_reconstruction`.
        out: Files to write, for each acquisition `images` (`.nii.gz`, iterations along the fourth axis) and `sidecar` (`.json`, which
            names them).
        settings: Keys of `DDConvSettings`.
        threads: Threads to run on, None for all.
        device: `cpu` or `cuda`.
        penalty: As for `check_penalty`. The torso has no MR: its attenuation is what `bowsher` takes the edges of.

    Raises:
        InputError: an acquisition, the attenuation, the strategy or its files do not fit each other.
    """
    check_reconstruction(reconstruction)
    correction, rough = parted(strategy)
    subject, isotope, operator, seconds = read_torso(torso), "", None, {}
    penalised = None if rough is None else (rough, penalty or {}, subject.mu)
    for acquisition, written in zip(acquisitions, out, strict=True):
        scan, watch = read_acquisition(acquisition, scanner), Stopwatch()
        if operator is None:
            isotope = scan.isotope
            operator = strategy_operator(correction, subject.mu, subject.voxel_mm, isotope, files, settings, device, threads)
            seconds["kernels"] = watch.lap()
        if scan.isotope != isotope:
            raise InputError(f"{acquisition}: of {scan.isotope}, but {acquisitions[0]} of {isotope}; give realisations of one isotope.")
        images = reconstructed(scan, operator, reconstruction, scanner, threads, device, penalised)
        seconds["reconstruction"] = watch.lap()
        write_images(written["images"], list(images.values()), scanner)
        write_json(written["sidecar"], sidecar(scan, reconstruction, scanner, strategy, files, seconds, device, penalty))


def measure_realisation(
    images: str | Path,
    sidecar_path: str | Path,
    torso: Files,
    model: str,
    realisation: int,
    out: Files,
    background_mm: Sequence[float] = BACKGROUND_MM,
    profiled: Sequence[str] = ("4",),
) -> None:
    """Measure the lesions in the images of one realisation and strategy.

    Args:
        images: Of `reconstruct_realisations`.
        sidecar_path: Its sidecar.
        torso: Files of `torso_files.write_torso`.
        model: The strategy.
        realisation: Its number.
        out: Files to write: `measures` (TSV: model, realisation, iteration, lesion, part, quantity, value) and `profiles` (TSV: model,
            realisation, iteration, lesion, axis, position_mm, material, true, value) along the three axes.
        background_mm: Distances from a lesion's edge between which its background lies.
        profiled: Lesions to profile.

    Raises:
        InputError: the images are not of the torso's grid or do not fit their sidecar.
    """
    subject, iterations = read_torso(torso), read_json(sidecar_path)["Iterations"]
    series = read_series(images, len(iterations), subject.activity.shape)
    regions = lesion_regions(subject, background_mm)
    key = {"model": model, "realisation": realisation}
    measures, profiles = [], []
    for iteration, image in zip(iterations, series, strict=True):
        measures += [{**key, "iteration": iteration, **row} for row in lesion_measures(image, subject.activity, regions)]
        profiles += [{**key, "iteration": iteration, **row} for row in lesion_profiles(subject, image, profiled)]
    write_long_table(out["measures"], measures)
    write_long_table(out["profiles"], profiles)


def read_series(path: str | Path, number: int, shape: Sequence[int]) -> list[Array]:
    """Read images along a fourth axis, or a single one.

    Raises:
        InputError: the file is missing or damaged, or holds another number of images or another grid.
    """
    data, _ = read_frames(path)
    data = data[..., None] if data.ndim == 3 else data
    if data.shape != (*shape, number):
        raise InputError(f"{path}: has shape {data.shape}, not {(*shape, number)} as torso and sidecar say; reconstruct it again.")
    return [data[..., index] for index in range(number)]


def lesion_regions(torso: Torso, background_mm: Sequence[float]) -> dict[tuple[str, str], Mask]:
    """Each lesion's whole, its parts by material, and its background, by lesion and part."""
    labels, body, regions = torso.labels, torso.activity > 0, {}
    for lesion in torso.lesion_names:
        number = int(lesion)
        for part, mask in lesion_parts(torso.lesions == number, labels, MATERIALS).items():
            regions[lesion, part] = mask
        regions[lesion, "background"] = background_of(torso.lesions, number, body, torso.voxel_mm, background_mm)
    return regions


def lesion_profiles(torso: Torso, image: Array, lesions: Sequence[str]) -> Iterator[Row]:
    """Profiles of an image, of the true activity and of the materials through the middle of lesions.

    Raises:
        InputError: the torso has no such lesion.
    """
    labels = torso.labels
    for lesion in lesions:
        if lesion not in torso.lesion_names:
            raise InputError(f"profiled: there is no lesion {lesion}; choose among {', '.join(torso.lesion_names)}.")
        centre = middle_voxel(torso.lesions == int(lesion))
        rows = (axis_profiles(values, centre, torso.voxel_mm) for values in (image, torso.activity, labels))
        for found, true, label in zip(*rows, strict=True):
            yield {
                "lesion": lesion,
                "axis": found["axis"],
                "position_mm": found["position_mm"],
                "material": MATERIALS[int(label["line"])],
                "true": true["line"],
                "value": found["line"],
            }


def summarise_realisations(measures: Sequence[str | Path], out: str | Path) -> None:
    """Write mean and spread over noise realisations: model, iteration, lesion, part, quantity, mean, sd, sem, realisations (TSV).

    Args:
        measures: Tables of `measure_realisation`.
        out: The table; `sd` and `sem` (standard error of the mean) are n/a with one realisation.

    Raises:
        InputError: a table is missing or no such table, or holds a realisation twice.
    """
    table = read_long_tables(measures, TEXT)
    twice = table.duplicated(list(TEXT))
    if twice.any():
        row = table[twice].iloc[0]
        raise InputError(f"measures: realisation {row['realisation']} of {row['model']} was given twice; give each table once.")
    table["iteration"] = table["iteration"].astype(int)
    groups = table.groupby(["model", "iteration", "lesion", "part", "quantity"], sort=False)["value"]
    write_long_table(out, groups.agg(mean="mean", sd="std", sem="sem", realisations="count").reset_index())
