"""Point spread functions and annihilation images by Monte Carlo, with GATE or with the fast engine.

Several media share one Geant4 run, because starting it takes as long as transporting some fifty thousand positrons: they stand in a
row, so far apart that no positron gets from one to the next.
"""

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.isotopes import isotope
from petbench.positron_range.condensed_history import CondensedHistory, run_condensed
from petbench.positron_range.media import Labels, Media, around_the_middle
from petbench.positron_range.psf_set import Origin, PsfSet
from petbench.positron_range.run_gate import ActivitySource, Annihilations, Physics, PointSource, run_gate

Counts = NDArray[np.uint32]

# One run holds at most so many media, and starts at most so many positrons (but at least one medium's).
RUN_MEDIA = 64
RUN_POSITRONS = 2_000_000
ENGINES: dict[str, type[Physics] | type[CondensedHistory]] = {"gate": Physics, "fast": CondensedHistory}


@dataclass(frozen=True)
class Simulation:
    """What is simulated.

    Args:
        isotope: As in `petbench.physics.isotopes`.
        positrons: A medium, or an activity image.
        source: `point`, in the middle of the middle voxel (the paper's), or `voxel`, uniform in it.
        kernel_size: Voxels along an edge of the cube that is kept around the source, odd.
        physics: How positrons are transported, which says by which engine.

    Raises:
        InputError: an unknown isotope or source, or no positrons.
    """

    isotope: str
    positrons: int = 1_000_000
    source: str = "point"
    kernel_size: int = 21
    physics: Physics | CondensedHistory = field(default_factory=Physics)

    def __post_init__(self) -> None:
        isotope(self.isotope)
        if self.source not in ("point", "voxel"):
            raise InputError(f"gate/source: {self.source!r} is unknown; choose point or voxel.")
        if self.positrons < 1:
            raise InputError(f"gate/positrons: {self.positrons} are too few; give at least one.")

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> "Simulation":
        """Take an entry's keys: `engine` (`gate`, or `fast`), those of its `Physics` or `CondensedHistory`, and of this.

        Raises:
            InputError: an unknown engine or key, no isotope, or a value out of range.
        """
        given = dict(entry)
        engine = given.pop("engine", "gate")
        if engine not in ENGINES:
            raise InputError(f"gate/engine: {engine!r} is unknown; choose one of {', '.join(ENGINES)}.")
        physical = {key.name for key in fields(ENGINES[engine])}
        own = {key.name for key in fields(cls)} - {"physics"}
        unknown = sorted(set(given) - physical - own)
        if unknown or "isotope" not in given:
            found = f"unknown key {unknown[0]!r} of engine {engine}" if unknown else "no isotope"
            raise InputError(f"gate: {found}; choose among {', '.join(sorted(own | physical))}.")
        physics = ENGINES[engine](**{key: value for key, value in given.items() if key in physical})
        return cls(**{key: value for key, value in given.items() if key in own}, physics=physics)


def simulate_psfs(media: Media, simulation: Simulation, seed: int, folder: str | Path, device: str = "cpu") -> PsfSet:
    """Simulate the point spread function of every medium.

    Args:
        media: N media.
        simulation: Isotope, positrons, physics.
        seed: With the media it decides every random number; the same call gives the same counts.
        folder: For temporary files.
        device: As in `run_condensed`.

    Raises:
        InputError: a material, isotope or Geant4 data that do not exist, or a kernel larger than the media.
        RuntimeError: Geant4 failed, or lost positrons.
    """
    number, size = len(media.names), simulation.kernel_size
    around_the_middle(media.labels.shape[-1], size)
    counts = np.zeros((number, size, size, size), np.uint32)
    together = min(RUN_MEDIA, max(1, RUN_POSITRONS // simulation.positrons))
    for first in range(0, number, together):
        chosen = slice(first, min(first + together, number))
        counts[chosen] = _simulate_row(media, chosen, simulation, run_seed(seed, media.names[first]), folder, device)
        print(f"positrons: {chosen.stop} of {number} media done")
    # What left the kernel, and the odd positron that Geant4 gave up.
    outside = simulation.positrons - counts.reshape(number, -1).sum(axis=1, dtype=np.int64)
    origin = Origin(
        isotope=isotope(simulation.isotope).name,
        voxel_mm=media.voxel_mm,
        source=simulation.source,
        data=simulation.physics.data,
        physics=simulation.physics.summary,
        versions=simulation.physics.versions,
        seed=seed,
    )
    positrons = np.full(number, simulation.positrons, np.uint32)
    return PsfSet(media.names, media.attenuation(size), counts, outside.astype(np.uint32), positrons, origin)


def _fly(
    labels: Labels,
    materials: Sequence[str],
    voxel_mm: Sequence[float],
    sources: Sequence[PointSource | ActivitySource],
    physics: Physics | CondensedHistory,
    seed: int,
    folder: str | Path,
    device: str,
) -> Annihilations:
    if isinstance(physics, CondensedHistory):
        return run_condensed(labels, materials, voxel_mm, sources, physics, seed, device)
    return run_gate(labels, materials, voxel_mm, sources, physics, seed, folder)


def _simulate_row(media: Media, chosen: slice, simulation: Simulation, seed: int, folder: str | Path, device: str) -> Counts:
    row, voxel, size = media.labels[chosen], media.voxel_mm, media.labels.shape[-1]
    materials, surroundings = list(media.materials), simulation.physics.surroundings
    if surroundings not in materials:
        materials.append(surroundings)
    gap = int(np.ceil(simulation.physics.margin_mm / voxel))
    labels = np.full((size, size, len(row) * (size + gap) - gap), materials.index(surroundings), np.uint8)
    for place, medium in enumerate(row):
        labels[:, :, place * (size + gap) :][:, :, :size] = medium
    pitch = (size + gap) * voxel
    centres = (np.arange(len(row)) - (len(row) - 1) / 2) * pitch
    edge = voxel if simulation.source == "voxel" else 0.0
    sources = [PointSource(simulation.isotope, simulation.positrons, (0.0, 0.0, float(centre)), edge) for centre in centres]
    found = _fly(labels, materials, [voxel] * 3, sources, simulation.physics, seed, folder, device)
    which = np.rint((found.start_mm[:, 2] - centres[0]) / pitch).astype(int)
    points = found.stop_mm.copy()
    points[:, 2] -= centres[which]
    return bin_points(points, which, len(row), [simulation.kernel_size] * 3, [voxel] * 3)


def simulate_activity(
    labels: Labels,
    materials: Sequence[str],
    voxel_mm: Sequence[float],
    activity: NDArray[np.float32],
    simulation: Simulation,
    seed: int,
    folder: str | Path,
    device: str = "cpu",
) -> tuple[Counts, int]:
    """Simulate where the positrons of an activity image annihilate; `simulation.source` and `kernel_size` play no part.

    Args:
        labels: Materials of the voxels, (X, Y, Z), indices into `materials`.
        materials: Names as in `petbench.physics.materials`.
        voxel_mm: Edges of the voxels.
        activity: Relative activity, (X, Y, Z), not negative.
        simulation: Isotope, positrons of the whole image, physics.
        seed: Decides every random number.
        folder: For temporary files.
        device: As in `run_condensed`.

    Returns:
        Annihilations a voxel, (X, Y, Z), and their number outside the image.

    Raises:
        InputError: shapes that differ, no or negative activity, or what `run_gate` refuses.
        RuntimeError: Geant4 failed, or lost positrons.
    """
    if activity.shape != labels.shape or activity.min() < 0 or not activity.sum() > 0:
        raise InputError("gate/activity: it must have the shape of the materials, some activity and none below zero; correct it.")
    total = np.zeros(labels.shape, np.uint32)
    for run, first in enumerate(range(0, simulation.positrons, RUN_POSITRONS)):
        source = ActivitySource(simulation.isotope, min(RUN_POSITRONS, simulation.positrons - first), activity)
        own_seed = run_seed(seed, f"activity {run}")
        found = _fly(labels, materials, voxel_mm, [source], simulation.physics, own_seed, folder, device)
        total += bin_points(found.stop_mm, np.zeros(len(found.stop_mm), int), 1, labels.shape, voxel_mm)[0]
    return total, simulation.positrons - int(total.sum(dtype=np.int64))


def bin_points(
    points_mm: NDArray[np.float64], which: NDArray[np.int_], number: int, shape: Sequence[int], voxel_mm: Sequence[float]
) -> Counts:
    """Count points (n, 3), in mm from the centre, in the voxels of the `which`-th of `number` grids; those outside are left out."""
    cells = np.floor(points_mm / np.asarray(voxel_mm) + np.asarray(shape) / 2).astype(np.int64)
    inside = np.all((cells >= 0) & (cells < np.asarray(shape)), axis=1)
    flat = np.ravel_multi_index((which[inside], *cells[inside].T), (number, *shape))
    return np.bincount(flat, minlength=number * int(np.prod(shape))).reshape(number, *shape).astype(np.uint32)


def run_seed(seed: int, name: str) -> int:
    """A seed for Geant4, from 1 to 2^31 - 1, of its own for each name."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "big") % (2**31 - 1) + 1


@contextmanager
def scratch(out: str | Path) -> Iterator[Path]:
    """A folder beside `out` for temporary files. It is emptied first, so that what a killed job left there goes, and removed at the end."""
    out = Path(out)
    folder = out.parent / f".{out.name}.scratch"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
