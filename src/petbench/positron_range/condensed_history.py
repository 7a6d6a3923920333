"""The fast engine: positrons by condensed histories, some hundred times as fast as Geant4, calibrated to it or not.

It takes and gives what `run_gate` does. [docs/positron_range.md](../../../docs/positron_range.md) says what it leaves out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.isotopes import isotope
from petbench.physics.materials import material
from petbench.positron_range.positron_physics import Ladder, ladder
from petbench.positron_range.run_gate import FURTHEST_IN_WATER_MM, ActivitySource, Annihilations, Points, PointSource
from petbench.positron_range.spectra import source_spectrum

# No positron of the table of isotopes starts above (Rb-82).
HIGHEST_MEV = 3.5
# Energy at which a material's scattering factor applies, the slope being a power of the energy over it.
REFERENCE_MEV = 1.0
# Table of widths of the distribution of Fisher and von Mises: up to this much scattering, in so many steps.
MOST_SCATTERING, WIDTHS = 6.0, 3000


@dataclass(frozen=True)
class CondensedHistory:
    """How the fast engine transports positrons.

    Args:
        energy_ratio: Of the lower to the upper energy of a step.
        stop_kev: Below this energy a positron stays where it is.
        single_loss_kev: Collisions that cost more than this are simulated singly,
        single_loss_share: or more than this share of the energy, where that is less.
        scattering: Factor on the scattering of each material at 1 MeV, one for those left out; a calibration gives them.
        slope: Power of the energy that the factor goes with, by material; zero for those left out.
        surroundings: The material around the volume.

    Raises:
        InputError: a value that is out of range, or an unknown material.
    """

    energy_ratio: float = 0.8
    stop_kev: float = 20.0
    single_loss_kev: float = 100.0
    single_loss_share: float = 0.2
    scattering: Mapping[str, float] = field(default_factory=dict)
    slope: Mapping[str, float] = field(default_factory=dict)
    surroundings: str = "water"

    def __post_init__(self) -> None:
        for name in (self.surroundings, *self.scattering, *self.slope):
            material(name)
        if not (0 < self.energy_ratio < 1 and 0 < self.single_loss_share < 1 and 1 <= self.stop_kev < 1e3 * HIGHEST_MEV):
            raise InputError("gate: energy_ratio and single_loss_share must lie between 0 and 1, stop_kev above 1; correct them.")
        if self.single_loss_kev <= 0 or any(factor <= 0 for factor in self.scattering.values()):
            raise InputError("gate: single_loss_kev and every factor of scattering must be above 0; correct them.")

    @property
    def data(self) -> str:
        """Geant4's data, of which there are none."""
        return "none"

    @property
    def summary(self) -> str:
        """All that decides the transport, in one line."""
        steps = f"energy ratio {self.energy_ratio}, to {self.stop_kev} keV"
        losses = f"single losses above {self.single_loss_kev} keV or {self.single_loss_share}"
        factors = [f"{name} {factor:.4f} E^{self.slope.get(name, 0.0):.4f}" for name, factor in sorted(self.scattering.items())]
        return "; ".join(
            ["condensed history", steps, losses, f"scattering {', '.join(factors) or 'untuned'}", f"surroundings {self.surroundings}"]
        )

    @property
    def versions(self) -> str:
        """Of what transports."""
        return f"petbench {version('petbench')}"

    @property
    def margin_mm(self) -> float:
        """What no positron crosses in the surroundings."""
        return FURTHEST_IN_WATER_MM / material(self.surroundings).density_g_cm3

    def tables(self, names: Sequence[str]) -> tuple[Ladder, Points]:
        """The ladder of some materials, and its columns as the compiled loop takes them, (materials, rungs, columns)."""
        rungs = ladder(
            tuple(names), HIGHEST_MEV, self.stop_kev / 1e3, self.energy_ratio, self.single_loss_kev / 1e3, self.single_loss_share
        )
        middle = np.sqrt(rungs.energies_mev[1:] * rungs.energies_mev[:-1]) / REFERENCE_MEV
        factors = np.stack([self.scattering.get(name, 1.0) * middle ** self.slope.get(name, 0.0) for name in names])
        scattering = rungs.scattering * factors
        bend, shortening = hinges(scattering, rungs.rise)
        columns = (rungs.length_mm, rungs.spread, scattering, rungs.collisions + rungs.annihilations, rungs.annihilations, bend, shortening)
        return rungs, np.ascontiguousarray(np.stack(columns, axis=-1))


def run_condensed(
    labels: NDArray[np.uint8],
    materials: Sequence[str],
    voxel_mm: Sequence[float],
    sources: Sequence[PointSource | ActivitySource],
    physics: CondensedHistory,
    seed: int,
    device: str = "cpu",
) -> Annihilations:
    """Send the positrons of all sources through a volume.

    Args:
        labels: The volume, (X, Y, Z), indices into `materials`.
        materials: Names as in `petbench.physics.materials`.
        voxel_mm: Edges of its voxels.
        sources: Where positrons start; the order of the answer is theirs.
        physics: How they are transported.
        seed: The same one gives the same points, whatever the number of threads.
        device: `cpu`, compiled loops on all of numba's threads, or where torch is to run. Points agree up to rounding.

    Returns:
        One point a positron.

    Raises:
        InputError: an unknown isotope or material, or a label beyond the materials.
    """
    if labels.max() >= len(materials):
        raise InputError(f"media/labels: label {labels.max()} has no material; give {labels.max() + 1} materials.")
    edges = np.array(voxel_mm, dtype=np.float64)
    corner = edges * np.array(labels.shape) / 2
    fly_all = flier(volume_of(labels, materials, edges, physics), device)
    starts, stops, energies, first = [], [], [], 0
    for source in sources:
        start, energy = starting_points(source, edges, seed, first)
        stop = start + corner
        fly_all(stop, energy, seed, first)
        starts.append(start)
        stops.append(stop - corner)
        energies.append(1e3 * energy)
        first += source.positrons
    return Annihilations(np.concatenate(starts), np.concatenate(stops), np.concatenate(energies))


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume and what happens in it, as the loops take it.

    Attributes:
        labels: Materials, (X, Y, Z), rows of `table`.
        surroundings: The row of the material around it.
        edges_mm: Of its voxels, (3,).
        energies_mev: Of the ladder, (rungs + 1,).
        least_loss_mev: Losses above are single ones, (rungs,).
        table: What happens on a rung, (materials, rungs, columns).
        widths: Of the distribution of deflections, by scattering in steps of 1 / `per_width`.
        per_width: Steps a unit of scattering.
    """

    labels: NDArray[np.uint8]
    surroundings: int
    edges_mm: Points
    energies_mev: Points
    least_loss_mev: Points
    table: Points
    widths: Points
    per_width: float = (WIDTHS - 1) / MOST_SCATTERING


def volume_of(labels: NDArray[np.uint8], materials: Sequence[str], edges_mm: Points, physics: CondensedHistory) -> Volume:
    """A volume as `run_condensed` takes it, with its tables."""
    names = [*materials, physics.surroundings]
    rungs, table = physics.tables(names)
    labels = np.ascontiguousarray(labels)
    return Volume(labels, len(names) - 1, edges_mm, rungs.energies_mev, rungs.least_loss_mev, table, fisher_widths())


def flier(volume: Volume, device: str) -> Callable[[Points, Points, int, int], None]:
    """What moves positrons from their places, (n, 3) in mm from the volume's corner, to their ends: of places, energies in MeV, the seed,
    and the number of the first positron.
    """
    given: dict[str, Any] = {part.name: getattr(volume, part.name) for part in fields(volume)}
    if device != "cpu":
        from petbench.positron_range.device_transport import DeviceTransport

        return DeviceTransport(*[*given.values(), device]).fly_all
    from petbench.positron_range.condensed_kernels import fly_all

    return lambda places, energies, seed, first: fly_all(places, energies, *given.values(), np.uint64(seed), np.uint64(first))


def starting_points(source: PointSource | ActivitySource, edges_mm: Points, seed: int, first: int) -> tuple[Points, Points]:
    """Where positrons start, (n, 3) in mm from the volume's centre, and their energies in MeV.

    Args:
        source: Which kind, how many.
        edges_mm: Of the volume's voxels.
        seed: Of all positrons.
        first: The number of the first one.
    """
    from petbench.positron_range.condensed_kernels import first_numbers

    numbers = first_numbers(source.positrons, np.uint64(seed), np.uint64(first))
    edges_kev, shares = source_spectrum(isotope(source.isotope))
    energies: Points = np.interp(numbers[:, 4], np.concatenate([[0.0], np.cumsum(shares)]), edges_kev) / 1e3
    if isinstance(source, PointSource):
        return np.asarray(source.position_mm) + source.edge_mm * (numbers[:, :3] - 0.5), energies
    share = np.cumsum(source.activity.ravel(), dtype=np.float64)
    voxels = np.searchsorted(share, numbers[:, 3] * share[-1], side="right")
    index = np.stack(np.unravel_index(voxels, source.activity.shape), axis=1)
    return (index + numbers[:, :3] - np.array(source.activity.shape) / 2) * edges_mm, energies


def hinges(scattering: Points, rise: Points) -> tuple[Points, Points]:
    """Where the hinge of a rung lies, and how much shorter than its path the rung is made, so that the means of its displacement along the
    direction before it and along that after it are those of scattering all along.

    A hinge at a share h of the way deflects by all of the scattering K: along the first direction the rung reaches h + (1 - h) exp(-K) of
    its path, along the last one h exp(-K) + 1 - h, for the integrals of exp(-K(s)) and exp(K(s) - K) over it.

    Args:
        scattering: K, of any shape.
        rise: As in `positron_physics.Ladder`.

    Returns:
        `bend`, so that h = u + bend u (1 - u) of an even u has the right mean, and the share by which the path is shortened.
    """
    nodes, weights = np.polynomial.legendre.leggauss(8)
    x, weights = (nodes + 1) / 2, weights / 2
    behind = scattering[..., None] * (x - rise[..., None] * x * (1 - x))
    before, after = (np.exp(-behind) @ weights, np.exp(behind - scattering[..., None]) @ weights)
    straight = np.exp(-scattering)
    kept = (before + after) / (1 + straight)
    mean = 0.5 + (before - after) / (2 * kept * -np.expm1(-scattering))
    return 6 * (mean - 0.5), 1 - kept


@cache
def fisher_widths() -> Points:
    """Widths w of the distribution of Fisher and von Mises, exp(cos(angle) / w), whose mean cosine is exp(-scattering), for scattering
    from 0 to `MOST_SCATTERING` in equal steps: coth(1 / w) - w is the mean cosine.
    """
    from scipy.optimize import brentq

    mean = np.exp(-np.linspace(0, MOST_SCATTERING, WIDTHS))
    widths = [brentq(lambda w, m=m: 1 / np.tanh(1 / w) - w - m, 1e-4, 1e4) for m in mean[1:]]
    return np.array([0.0, *widths])
