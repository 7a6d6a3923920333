"""Calibration of the fast engine: short runs of GATE, and the scattering of each material that brings the mean ranges to GATE's.

Geant4's multiple scattering is a model that depends on its steps and on the voxels it meets, so that an engine of other steps is some
percent off whatever its cross sections. Two constants a material take that up: a factor on its scattering, and the power of the energy
that the factor goes with. They are fitted to the mean ranges of a few isotopes; all others, mixed media and shapes are predictions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.files import read_json, write_json
from petbench.physics.isotopes import isotope
from petbench.physics.materials import material
from petbench.positron_range.condensed_history import CondensedHistory, run_condensed
from petbench.positron_range.gate import run_seed
from petbench.positron_range.run_gate import FURTHEST_IN_WATER_MM, Annihilations, Physics, PointSource, run_gate

Array = NDArray[np.float64]

# What Gauss and Newton's steps begin with and end at.
SMALL_CHANGE, ROUNDS = 0.02, 4
CONSTANTS = ("scattering", "slope")


@dataclass(frozen=True)
class Calibration:
    """What is fitted, and to what.

    Args:
        materials: Whose constants are fitted, each alone.
        isotopes: Whose mean ranges they are fitted to; two at least.
        positrons: Of each isotope in each material, by GATE.
        fast_positrons: The same by the fast engine, each time that it is tried.
        voxel_mm: Edge of the voxels that GATE's positrons fly through.
        physics: Of GATE.
        fast: The fast engine, its constants aside.

    Raises:
        InputError: an unknown material or isotope, fewer than two isotopes, or a number that is not above zero.
    """

    materials: tuple[str, ...]
    isotopes: tuple[str, ...]
    positrons: int
    fast_positrons: int = 200_000
    voxel_mm: float = 2.0
    physics: Physics = field(default_factory=Physics)
    fast: CondensedHistory = field(default_factory=CondensedHistory)

    def __post_init__(self) -> None:
        for name in self.materials:
            material(name)
        for name in self.isotopes:
            isotope(name)
        if len(self.isotopes) < len(CONSTANTS) or not self.materials:
            raise InputError(f"calibration: {len(CONSTANTS)} constants need as many isotopes, in at least one material; add some.")
        if self.positrons < 2 or self.fast_positrons < 2 or self.voxel_mm <= 0:
            raise InputError("calibration: positrons, fast_positrons and voxel_mm must be above zero; correct them.")

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> "Calibration":
        """Take an entry's keys; those of `gate` are `positrons` and those of `Physics`, those of `fast` `positrons` and the engine's.

        Raises:
            InputError: a value out of range.
        """
        gate, fast = dict(entry["gate"]), dict(entry.get("fast", {}))
        return cls(
            materials=tuple(entry["materials"]),
            isotopes=tuple(entry["isotopes"]),
            positrons=gate.pop("positrons"),
            fast_positrons=fast.pop("positrons", cls.fast_positrons),
            voxel_mm=entry.get("voxel_mm", cls.voxel_mm),
            physics=Physics(**gate),
            fast=CondensedHistory(**fast),
        )


def calibrate(entry: Mapping[str, Any], seed: int, out: str | Path, folder: str | Path) -> None:
    """Run GATE, fit the constants and write them with what they were fitted to (JSON).

    Args:
        entry: As for `Calibration.from_entry`.
        seed: Decides every random number.
        out: `scattering` and `slope` by material; `ranges`, a row an isotope and material: mean 3D range by GATE with its standard error,
            and by the fast engine with and without the constants; and what was run.
        folder: For temporary files.
    """
    how = Calibration.from_entry(entry)
    constants: dict[str, dict[str, float]] = {key: {} for key in CONSTANTS}
    ranges = []
    for name in how.materials:
        own_seed = run_seed(seed, name)
        distances = [distance_mm(found) for found in fly_homogeneous(name, how, how.physics, how.positrons, own_seed, folder)]
        target = np.array([own.mean() for own in distances])
        values, found, untuned = fitted(name, how, target, own_seed)
        constants["scattering"][name], constants["slope"][name] = (float(value) for value in values)
        for emitter, own, by_gate, tuned, before in zip(how.isotopes, distances, target, found, untuned, strict=True):
            row = {"material": name, "isotope": emitter, "gate_mm": float(by_gate), "gate_error_mm": float(own.std() / np.sqrt(own.size))}
            ranges.append({**row, "fast_mm": float(tuned), "untuned_mm": float(before)})
            print(f"{name}, {emitter}: GATE {by_gate:.4f} mm, fast {tuned:.4f} mm, untuned {before:.4f} mm")
    made = {"gate": how.physics.summary, "gate_data": how.physics.data, "versions": [how.physics.versions, how.fast.versions]}
    sizes = {
        "positrons": how.positrons,
        "fast_positrons": how.fast_positrons,
        "voxel_mm": how.voxel_mm,
        "seed": seed,
        "fast": how.fast.summary,
    }
    write_json(Path(out), {**constants, "ranges": ranges, "made_from": {**made, **sizes}})


def fitted(name: str, how: Calibration, target_mm: Array, seed: int) -> tuple[Array, Array, Array]:
    """Factor and slope of a material, and the mean ranges with and without them, an isotope each.

    Gauss and Newton's steps on the logarithms of the ranges; the fast engine takes the same random numbers each time, so that differences
    between constants are not noise.
    """

    def logs(values: Array) -> Array:
        physics = replace(how.fast, scattering={name: float(np.exp(values[0]))}, slope={name: float(values[1])})
        flown = fly_homogeneous(name, how, physics, how.fast_positrons, seed, None)
        return np.log([distance_mm(found).mean() for found in flown])

    values = np.zeros(len(CONSTANTS))
    untuned = current = logs(values)
    for _ in range(ROUNDS):
        slopes = np.stack([(logs(values + change) - current) / SMALL_CHANGE for change in SMALL_CHANGE * np.eye(len(values))], axis=1)
        values = values + np.linalg.lstsq(slopes, np.log(target_mm) - current, rcond=None)[0]
        current = logs(values)
    return np.array([np.exp(values[0]), values[1]]), np.exp(current), np.exp(untuned)


def fly_homogeneous(
    name: str, how: Calibration, physics: Physics | CondensedHistory, positrons: int, seed: int, folder: str | Path | None
) -> Sequence[Annihilations]:
    """Positrons of each isotope from a voxel in the middle of one material, as far as they get, by GATE or by the fast engine."""
    reach = int(np.ceil(FURTHEST_IN_WATER_MM / material(name).density_g_cm3 / how.voxel_mm))
    labels = np.zeros((2 * reach + 1,) * 3, np.uint8)
    sources = [PointSource(emitter, positrons, edge_mm=how.voxel_mm) for emitter in how.isotopes]
    if isinstance(physics, CondensedHistory):
        found = run_condensed(labels, [name], [how.voxel_mm] * 3, sources, physics, seed)
    else:
        found = run_gate(labels, [name], [how.voxel_mm] * 3, sources, physics, seed, str(folder))
    # Geant4 may have given up a few, so that sources are told apart by where one ends; all have as many to a ten-thousandth
    cuts = [round(len(found.energy_kev) * number / len(sources)) for number in range(len(sources) + 1)]
    return [Annihilations(*(getattr(found, part.name)[first:last] for part in fields(Annihilations))) for first, last in pairwise(cuts)]


def distance_mm(flown: Annihilations) -> Array:
    """How far from their start positrons annihilate."""
    distances: Array = np.linalg.norm(flown.stop_mm - flown.start_mm, axis=1)
    return distances


def calibrated(gate: Mapping[str, Any], path: str | Path | None) -> dict[str, Any]:
    """The keys of a `gate` block, with a calibration's constants in the place of its name.

    Args:
        gate: An entry's block; one without the key `calibration` is returned as it is.
        path: What `calibrate` wrote.

    Raises:
        InputError: the file lacks a constant.
    """
    given = dict(gate)
    if given.pop("calibration", None) is None:
        return given
    found = read_json(Path(str(path)))
    if missing := [key for key in CONSTANTS if key not in found]:
        raise InputError(f"{path}: has no {missing[0]}; calibrate again.")
    return {**given, **{key: found[key] for key in CONSTANTS}}
