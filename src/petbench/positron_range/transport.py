"""One Geant4 run through opengate, in a process of its own: `python -m petbench.positron_range.transport request.json parent`.

opengate runs once a process and must be imported under the data's environment (`geant4_data`), so `gate` starts this module rather than
calling it. The request says everything in GATE's terms; the answer is `annihilations.root` in the request's folder.
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

OUTPUT = "annihilations.root"


def transport(request: dict[str, Any], folder: Path) -> None:
    """Send positrons through a voxel volume and write where they annihilate, in mm from its centre.

    The stopping actor of opengate scores every track, photons too. So photons of annihilation are recorded in their first step, where
    they start from the place of annihilation, and every particle but the positron is stopped.

    Args:
        request: `materials` (GATE's names by label), `surroundings` and `world_mm`; `sources`, each with `positrons`, `isotope`, its
            spectrum (`edges_kev`, `shares`) and either `position_mm` with the edges `box_mm` of the box it is uniform in, or an `image` of
            activity; `seed`, `physics_list`, `production_cut_mm` and Geant4's `commands`.
        folder: Holds `labels.mha`; `annihilations.root` is written there: one row a photon, with its event, the positron's start and energy
            (EventPosition, EventKineticEnergy) and the place of annihilation (TrackVertexPosition).
    """
    import opengate
    from itk.support import helpers
    from opengate.actors.filters import GateFilterBuilder

    helpers._HAVE_TORCH = False  # ITK, which reads the images, would import torch for two seconds, for tensors that nobody passes
    mm = opengate.g4_units.mm
    simulation = opengate.Simulation()
    simulation.random_seed = request["seed"]
    simulation.progress_bar = False
    simulation.output_dir = str(folder)
    simulation.volume_manager.add_material_database(str(Path(opengate.__file__).parent / "contrib" / "GateMaterials.db"))
    simulation.world.size = [edge * mm for edge in request["world_mm"]]
    simulation.world.material = request["surroundings"]
    volume = simulation.add_volume("ImageVolume", "medium")
    volume.image = str(folder / "labels.mha")
    volume.material = request["surroundings"]
    volume.voxel_materials = [[label - 0.5, label + 0.5, name] for label, name in enumerate(request["materials"])]

    simulation.physics_manager.physics_list_name = request["physics_list"]
    simulation.physics_manager.set_production_cut("world", "all", request["production_cut_mm"] * mm)
    simulation.g4_commands_after_init += request["commands"]

    for number, given in enumerate(request["sources"]):
        source = simulation.add_source("VoxelSource" if "image" in given else "GenericSource", f"source-{number}")
        source.particle = "e+"
        source.n = given["positrons"]
        source.direction.type = "iso"
        if "image" in given:
            source.image = str(folder / given["image"])
        else:
            source.position.type = "box"
            source.position.size = [edge * mm for edge in given["box_mm"]]
            source.position.translation = [place * mm for place in given["position_mm"]]
        _set_energy(source.energy, given)

    filters = GateFilterBuilder()
    points = simulation.add_actor("PhaseSpaceActor", "points")
    points.attached_to = "world"
    points.attributes = ["EventID", "EventPosition", "EventKineticEnergy", "TrackVertexPosition"]
    points.steps_to_store = "first"
    points.filter = (filters.ParticleName == "gamma") & (filters.TrackCreatorProcess == "annihil")
    points.output_filename = OUTPUT
    points.priority = 10
    stop = simulation.add_actor("KillActor", "stop")
    stop.attached_to = "world"
    stop.filter = filters.ParticleName != "e+"
    stop.priority = 100
    simulation.run()


def _set_energy(energy: Any, given: dict[str, Any]) -> None:
    """Use opengate's measured spectrum where it has one, else the histogram."""
    import opengate
    from opengate.sources.utility import all_beta_plus_radionuclides

    if given["isotope"] in all_beta_plus_radionuclides:
        energy.type = given["isotope"]
    else:
        energy.type = "spectrum_histogram"
        energy.spectrum_energy_bin_edges = [edge * opengate.g4_units.keV for edge in given["edges_kev"]]
        energy.spectrum_weights = given["shares"]


def end_with(parent: int) -> None:
    """Let the system end this process when the one that started it dies, so that a killed job leaves no Geant4 running (Linux)."""
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the process that asked for this run is gone")


if __name__ == "__main__":
    end_with(parent=int(sys.argv[2]))
    path = Path(sys.argv[1])
    transport(json.loads(path.read_text()), path.parent)
