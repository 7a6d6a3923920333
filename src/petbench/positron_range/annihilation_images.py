"""Where the positrons of a torso annihilate, by Monte Carlo: simulated in chunks, joined, and turned into an image in Bq/ml."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.files import atomic
from petbench.physics.isotopes import isotope
from petbench.positron_range.gate import Simulation, run_seed, scratch, simulate_activity
from petbench.positron_range.torso import MATERIALS, Torso
from petbench.positron_range.torso_files import read_torso

Array = NDArray[np.float32]

SAME = ("isotope", "voxel_mm", "activity_sum", "data", "physics", "versions")


@dataclass(frozen=True, eq=False)
class AnnihilationImage:
    """Annihilations of an activity image.

    Attributes:
        counts: In every voxel, (x, y, z).
        outside: Beyond the image.
        positrons: That were started.
        activity_sum: Sum of the activity image over its voxels.
        isotope: The positron emitter.
        voxel_mm: Voxel edges.
        data: Geant4's data: `embedded`, `download` or a folder.
        physics: Physics list, production cut and step limits, in one line.
        versions: Of opengate and Geant4.
        parts: The chunks it is the sum of, each by its seed and number.
    """

    counts: NDArray[np.uint32]
    outside: int
    positrons: int
    activity_sum: float
    isotope: str
    voxel_mm: tuple[float, float, float]
    data: str
    physics: str
    versions: str
    parts: tuple[str, ...]

    @property
    def activity(self) -> Array:
        """The annihilations in the activity's unit: what a scanner sees of it, (x, y, z)."""
        return (self.counts * (self.activity_sum / self.positrons)).astype(np.float32)


def simulate_annihilations(
    torso: Mapping[str, str | Path],
    simulation: Mapping[str, Any],
    seed: int,
    out: str | Path,
    chunk: int = 0,
    chunks: int = 1,
    device: str = "cpu",
) -> None:
    """Simulate one chunk of a torso's positrons and write the annihilation image (`.h5`).

    Positrons start anywhere in their voxel. What surrounds the body is water, as the operators take it.

    Args:
        torso: Files of `torso_files.write_torso`: `activity`, `mu`, `lesions`.
        simulation: As for `gate.Simulation.from_entry`; `positrons` are those of all chunks.
        seed: Of all chunks; each has random numbers of its own.
        out: The file.
        chunk: Which part of the positrons, from 0.
        chunks: Into how many they are divided.
        device: As in `run_condensed`.

    Raises:
        InputError: a key, the torso or the number of chunks is not usable.
        RuntimeError: Geant4 failed, or lost positrons.
    """
    subject, whole = read_torso(torso), Simulation.from_entry(simulation)
    if not 0 <= chunk < chunks <= whole.positrons:
        raise InputError(f"gate/chunks: there is no part {chunk} of {chunks} of {whole.positrons} positrons; give fewer chunks.")
    own = whole.positrons * (chunk + 1) // chunks - whole.positrons * chunk // chunks
    with scratch(out) as folder:
        write_annihilations(
            out, annihilations_of(subject, replace(whole, positrons=own), seed, f"chunk {chunk} of {chunks}", folder, device)
        )


def annihilations_of(
    torso: Torso, simulation: Simulation, seed: int, part: str, folder: str | Path, device: str = "cpu"
) -> AnnihilationImage:
    """Simulate the positrons of a torso.

    Args:
        torso: Where they start, and in what.
        simulation: Isotope, positrons, physics.
        seed: With `part` it decides every random number.
        part: Name of this part of a simulation.
        folder: For temporary files.
        device: As in `run_condensed`.
    """
    own_seed = run_seed(seed, part)
    counts, outside = simulate_activity(torso.labels, MATERIALS, torso.voxel_mm, torso.activity, simulation, own_seed, folder, device)
    return AnnihilationImage(
        counts=counts,
        outside=outside,
        positrons=simulation.positrons,
        activity_sum=float(torso.activity.sum(dtype=np.float64)),
        isotope=isotope(simulation.isotope).name,
        voxel_mm=torso.voxel_mm,
        data=simulation.physics.data,
        physics=simulation.physics.summary,
        versions=simulation.physics.versions,
        parts=(f"seed {seed}, {part}",),
    )


def write_annihilations(path: str | Path, image: AnnihilationImage) -> None:
    """Write an image as HDF5: a dataset `counts`, all else as attributes."""
    import h5py

    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("counts", data=image.counts, compression="gzip", shuffle=True)
        for name in ("outside", "positrons", *SAME):
            file.attrs[name] = getattr(image, name)
        file.attrs["parts"] = list(image.parts)


def read_annihilations(path: str | Path) -> AnnihilationImage:
    """Read an image and check that its counts add up.

    Raises:
        InputError: the file is missing, cut short, lacks a part, or its counts and positrons disagree.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            values = {name: file.attrs[name] for name in ("outside", "positrons", *SAME)}
            counts, parts = file["counts"][:], tuple(str(part) for part in file.attrs["parts"])
    except (OSError, KeyError) as error:
        raise InputError(f"{path}: no readable annihilation image ({error}); simulate it again.") from None
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
    x_mm, y_mm, z_mm = (float(edge) for edge in plain["voxel_mm"])
    image = AnnihilationImage(**{**plain, "counts": counts, "parts": parts, "voxel_mm": (x_mm, y_mm, z_mm)})
    if int(counts.sum(dtype=np.int64)) + image.outside != image.positrons or image.positrons < 1:
        raise InputError(f"{path}: its annihilations do not add up to its positrons; simulate it again.")
    return image


def check_torso(image: AnnihilationImage, torso: Torso, path: str | Path) -> None:
    """Check that annihilations are those of a torso.

    Raises:
        InputError: grid or activity differ.
    """
    same = image.counts.shape == torso.activity.shape and np.allclose(image.voxel_mm, torso.voxel_mm, atol=1e-3)
    if not same or not np.isclose(image.activity_sum, torso.activity.sum(dtype=np.float64), rtol=1e-5):
        raise InputError(f"{path}: is of another torso; simulate that of this experiment.")


def merge_annihilations(paths: Sequence[str | Path], out: str | Path) -> None:
    """Add up chunks of one simulation.

    Raises:
        InputError: a chunk cannot be read, is of another simulation or grid, or is given twice.
    """
    images = [read_annihilations(path) for path in paths]
    if not images:
        raise InputError("gate/chunks: there is none to add up; give at least one.")
    total, first = images[0], images[0]
    for path, image in zip(paths[1:], images[1:], strict=True):
        differing = [name for name in SAME if getattr(image, name) != getattr(first, name)]
        differing += ["shape"] if image.counts.shape != first.counts.shape else []
        if differing:
            raise InputError(f"{path}: its {differing[0]} is not that of {paths[0]}; add up only chunks of one simulation.")
        if set(image.parts) & set(total.parts):
            raise InputError(f"{path}: its {min(set(image.parts) & set(total.parts))} was added already; give each chunk once.")
        total = replace(
            total,
            counts=total.counts + image.counts,
            outside=total.outside + image.outside,
            positrons=total.positrons + image.positrons,
            parts=(*total.parts, *image.parts),
        )
    write_annihilations(out, total)
