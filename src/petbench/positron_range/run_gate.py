"""One run of GATE (opengate 10 and Geant4): positrons from sources in a voxel volume, and where they annihilate."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.isotopes import isotope
from petbench.physics.materials import material
from petbench.positron_range import transport
from petbench.positron_range.geant4_data import geant4_environment
from petbench.positron_range.spectra import positron_spectrum

Points = NDArray[np.float64]

# Nothing in the table of isotopes flies further than this in water (Rb-82 at its end point: 17 mm); elsewhere by the ratio of densities.
FURTHEST_IN_WATER_MM = 20.0
# Media thinner than this would let positrons fly for metres.
THINNEST_G_CM3 = 0.1
# Geant4 may give up a track once in very many; a larger share of lost positrons is an error.
LOST_SHARE = 1e-4
# The physics lists that need nothing but what `geant4_data` generates.
EMBEDDED_LISTS = ("G4EmStandardPhysics_option1", "G4EmStandardPhysics_option2")


@dataclass(frozen=True)
class Physics:
    """How Geant4 transports positrons.

    Args:
        data: `embedded`, `download` or the path of Geant4's data folder; see `geant4_data`.
        physics_list: One of Geant4's electromagnetic physics lists; `embedded` runs those of `EMBEDDED_LISTS`.
        production_cut_mm: Electrons and photons of a shorter range are not made, but their energy deposited on the spot.
        step_fraction: Largest share of its remaining range a positron goes in one step, down to steps of ...
        final_step_mm: ... this length.
        step_limit: Geant4's rule for steps of multiple scattering near boundaries.
        surroundings: The material around the volume.

    Raises:
        InputError: a value that is out of range, an unknown or too thin material, or a physics list `embedded` cannot run.
    """

    data: str = "embedded"
    physics_list: str = "G4EmStandardPhysics_option1"
    production_cut_mm: float = 1.0
    step_fraction: float = 0.1
    final_step_mm: float = 0.02
    step_limit: str = "UseDistanceToBoundary"
    surroundings: str = "water"

    def __post_init__(self) -> None:
        if material(self.surroundings).density_g_cm3 < THINNEST_G_CM3:
            raise InputError(f"gate/surroundings: positrons fly for metres in {self.surroundings}; choose water, lung or bone.")
        if self.data == "embedded" and self.physics_list not in EMBEDDED_LISTS:
            choice = ", ".join(EMBEDDED_LISTS)
            raise InputError(f"gate/physics_list: {self.physics_list!r} needs Geant4's own data; set gate/data, or choose one of {choice}.")
        if not (0 < self.step_fraction <= 1 and self.final_step_mm > 0 and self.production_cut_mm > 0):
            raise InputError("gate: step_fraction must lie between 0 and 1, final_step_mm and production_cut_mm above 0; correct them.")

    @property
    def commands(self) -> list[str]:
        """Geant4's commands for the positrons' steps."""
        return [
            f"/process/eLoss/StepFunction {self.step_fraction} {self.final_step_mm} mm",
            f"/process/msc/StepLimit {self.step_limit}",
        ]

    @property
    def summary(self) -> str:
        """All that decides the transport but the data, in one line."""
        cut = f"production cut {self.production_cut_mm} mm"
        return "; ".join([self.physics_list, cut, *self.commands, f"surroundings {self.surroundings}"])

    @property
    def versions(self) -> str:
        """Of opengate and Geant4."""
        return f"opengate {version('opengate')}, Geant4 of opengate-core {version('opengate-core')}"

    @property
    def margin_mm(self) -> float:
        """What no positron crosses in the surroundings."""
        return FURTHEST_IN_WATER_MM / material(self.surroundings).density_g_cm3


@dataclass(frozen=True)
class PointSource:
    """Positrons that start at a point, or uniformly in a cube of `edge_mm` around it; lengths from the volume's centre."""

    isotope: str
    positrons: int
    position_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    edge_mm: float = 0.0


@dataclass(frozen=True)
class ActivitySource:
    """Positrons that start in the volume's voxels in proportion to `activity`, of the volume's shape, and uniformly within a voxel."""

    isotope: str
    positrons: int
    activity: NDArray[np.float32]


@dataclass(frozen=True)
class Annihilations:
    """Where positrons started and annihilated, (n, 3) each in mm from the volume's centre, and the energies they started with, (n,) keV."""

    start_mm: Points
    stop_mm: Points
    energy_kev: Points


def run_gate(
    labels: NDArray[np.uint8],
    materials: Sequence[str],
    voxel_mm: Sequence[float],
    sources: Sequence[PointSource | ActivitySource],
    physics: Physics,
    seed: int,
    folder: str | Path,
) -> Annihilations:
    """Send the positrons of all sources through a volume, in a process of its own.

    Args:
        labels: The volume, (X, Y, Z), indices into `materials`.
        materials: Names as in `petbench.physics.materials`.
        voxel_mm: Edges of its voxels.
        sources: Where positrons start; the order of the answer is theirs.
        physics: How they are transported.
        seed: From 1 to 2^31 - 1; the same one gives the same points.
        folder: Temporary files, some 60 bytes a positron, go to a folder in it and are deleted at the end.

    Returns:
        One point a positron, less those that Geant4 gave up (a ten-thousandth at most).

    Raises:
        InputError: an unknown isotope or material, a label beyond the materials, or missing data.
        RuntimeError: Geant4 failed, or lost positrons.
    """
    if labels.max() >= len(materials):
        raise InputError(f"media/labels: label {labels.max()} has no material; give {labels.max() + 1} materials.")
    names = [material(name).gate_name for name in materials]
    around = material(physics.surroundings).gate_name
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="run-") as place:
        here = Path(place).resolve()
        write_image(here / "labels.mha", labels, voxel_mm)
        request = {
            "materials": names,
            "surroundings": around,
            "world_mm": [n * edge + 2 * physics.margin_mm for n, edge in zip(labels.shape, voxel_mm, strict=True)],
            "sources": [_source(number, source, voxel_mm, here) for number, source in enumerate(sources)],
            "seed": seed,
            "physics_list": physics.physics_list,
            "production_cut_mm": physics.production_cut_mm,
            "commands": physics.commands,
        }
        (here / "request.json").write_text(json.dumps(request))
        _start(here, geant4_environment(physics.data, here / "geant4", {*names, around}))
        return _read(here / transport.OUTPUT, sum(source.positrons for source in sources))


def write_image(path: Path, image: NDArray[Any], voxel_mm: Sequence[float]) -> None:
    """Write (x, y, z) as an image that ITK reads, its centre at the origin."""
    import SimpleITK as sitk  # noqa: N813

    written = sitk.GetImageFromArray(np.ascontiguousarray(image.T))
    written.SetSpacing([float(edge) for edge in voxel_mm])
    sitk.WriteImage(written, str(path))


def _source(number: int, source: PointSource | ActivitySource, voxel_mm: Sequence[float], folder: Path) -> dict[str, Any]:
    emitter = isotope(source.isotope)
    edges_kev, shares = positron_spectrum(emitter)
    given = {"isotope": emitter.name, "edges_kev": edges_kev.tolist(), "shares": shares.tolist(), "positrons": source.positrons}
    if isinstance(source, PointSource):
        return {**given, "position_mm": source.position_mm, "box_mm": [source.edge_mm] * 3}
    name = f"activity-{number}.mha"
    write_image(folder / name, source.activity.astype(np.float32), voxel_mm)
    return {**given, "image": name}


def _start(folder: Path, variables: Mapping[str, str]) -> None:
    # Geant4's libraries need more static thread storage than the loader sets aside.
    environment = {"GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=2000000", **os.environ, **variables}
    log = folder / "gate.log"
    with open(log, "w", encoding="utf-8") as output:
        command = [sys.executable, "-m", transport.__name__, str(folder / "request.json"), str(os.getpid())]
        status = subprocess.run(command, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    if status or not (folder / transport.OUTPUT).exists():
        text = log.read_text(encoding="utf-8", errors="replace").strip()
        missing = re.search(r"data file[:\s<]+([^\s>]+)>? (?:is )?not (?:opened|found)", text)
        if missing:
            raise InputError(f"gate/data: Geant4 cannot read {missing[1]}; complete that data set, or use `embedded`.")
        raise RuntimeError("\n".join([f"GATE ended with status {status}; its last lines:", *text.splitlines()[-15:]]))


def _read(path: Path, positrons: int) -> Annihilations:
    """Of the photons of each annihilation take the first."""
    import uproot

    parts: dict[str, list[Points]] = {"EventPosition": [], "TrackVertexPosition": [], "EventKineticEnergy": []}
    last = -1
    for rows in uproot.iterate(f"{path}:points", library="np", step_size=1_000_000):
        event = rows["EventID"]
        new = np.diff(event, prepend=last) > 0
        last = event[-1]
        parts["EventKineticEnergy"].append(rows["EventKineticEnergy"][new] * 1e3)
        for name in ("EventPosition", "TrackVertexPosition"):
            parts[name].append(np.stack([rows[f"{name}_{axis}"][new] for axis in "XYZ"], axis=1))
    start, stop, energy = (np.concatenate(part) for part in parts.values())
    if not (1 - LOST_SHARE) * positrons <= len(stop) <= positrons:
        raise RuntimeError(f"GATE recorded {len(stop)} annihilations of {positrons} positrons; its physics list or data cannot be right.")
    return Annihilations(start, stop, energy)
