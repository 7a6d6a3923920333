"""One application of DDConv, its kernels predicted once, against the literal algorithm 1: a network pass for every voxel every time.

Both use the same weights; a network of the published size costs the same whatever they are, so they are random here. The literal
algorithm runs on a few hundred voxels in batches and its time is scaled to all of them, the cost of a pass being that of any other. The
homogeneous kernels, which decide how many voxels need one of their own, fall off as those of Ga-68 do. Prediction, paid once a subject,
is reported against one literal application. With a GPU, the grid is the one published: 200 x 200 x 100 voxels of 2 mm.

Then what the correction adds to a reconstruction: EM iterations with the operator against the same ones without, its prediction left out,
for oblique planes with time of flight (experiment 2, on the paper's scanner and on that of the small scale) and for direct planes. There
`factor` is corrected over uncorrected, and `least` what it would be if the stored kernels had only to be read from memory, once in each
direction: no code that applies them comes below. What an application costs depends on the number of stored kernels and on their size,
not on the values, so even kernels that fill the cube stand for predicted ones.

And the fast engine against GATE, both on one core in the same random media; seconds are of a million positrons.
"""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from timing import report, seconds
from torch import Tensor

from petbench.networks.psf_predictor import PSFPredictor
from petbench.physics.projector import numba_threads
from petbench.physics.scanner import Scanner
from petbench.positron_range.cohort import make_media
from petbench.positron_range.ddconv import BATCH, DDConv, DDConvSettings, ddconv, predicted_kernels
from petbench.positron_range.gate import Simulation, simulate_psfs
from petbench.positron_range.material_kernels import MaterialKernels
from petbench.positron_range.operators import NoCorrection
from petbench.positron_range.predictor import Description, Predictor
from petbench.positron_range.torso import TorsoSettings, embedded_torso

Array = NDArray[np.float32]

MU_PER_CM = {"lung": 0.0247, "water": 0.096, "rib_bone": 0.1716}
VOXEL_MM, KERNEL = 2.0, 11
LITERAL_VOXELS = 512
MEAN_RANGE_MM = 2.3  # of Ga-68 in water


def torso(shape: tuple[int, int, int]) -> Array:
    """Attenuation per cm of an elliptic body with two lungs and a spine, air around it."""
    x, y, z = (np.linspace(-1, 1, size).reshape(-1, *([1] * (2 - axis))) for axis, size in enumerate(shape))
    mu = np.zeros(shape, dtype=np.float32)
    mu[np.broadcast_to((x / 0.9) ** 2 + (y / 0.65) ** 2 < 1, shape)] = MU_PER_CM["water"]
    for side in (-1, 1):
        mu[((x - 0.42 * side) / 0.3) ** 2 + (y / 0.45) ** 2 + (z / 0.9) ** 2 < 1] = MU_PER_CM["lung"]
    mu[np.broadcast_to((x / 0.1) ** 2 + ((y + 0.4) / 0.14) ** 2 < 1, shape)] = MU_PER_CM["rib_bone"]
    return mu


def exponential_kernels() -> MaterialKernels:
    """Kernels that fall off exponentially with the mass crossed, of the mean range of Ga-68."""
    places = np.arange(KERNEL) - KERNEL // 2
    radius_mm = VOXEL_MM * np.sqrt(places[:, None, None] ** 2 + places[None, :, None] ** 2 + places[None, None, :] ** 2)
    # exp(-r / a) / r^2, a shell's share being exponential, with r held off zero by half a voxel
    fall = [np.exp(-radius_mm * mu / MU_PER_CM["water"] / MEAN_RANGE_MM) / (radius_mm**2 + VOXEL_MM**2 / 4) for mu in MU_PER_CM.values()]
    kernels = np.stack([kernel / kernel.sum() for kernel in fall]).astype(np.float32)
    return MaterialKernels("Ga68", VOXEL_MM, "point", MU_PER_CM, kernels)


class Even(PSFPredictor):
    """Predicts the same probability for each voxel of the cube, at once."""

    def forward(self, mu: Tensor) -> Tensor:
        """(B, K, K, K) in and out."""
        return torch.full_like(mu, 1 / mu[0].numel())


def predictor_of(network: PSFPredictor, device: str) -> Predictor:
    """A predictor for Ga-68."""
    network = network.to(device=device, memory_format=torch.channels_last_3d).eval()
    train = {"network": {"channels": 16, "blocks": 4}, "tail": "renormalise"}
    return Predictor(network, Description("Ga68", VOXEL_MM, KERNEL, "renormalise", "point", MU_PER_CM, train, {}, ""), torch.device(device))


def literal_seconds(mu: Array, predictor: Predictor) -> float:
    """Time of algorithm 1 on an image: predict each voxel's kernel and spread its activity."""
    margin = KERNEL // 2
    padded = np.pad(np.where(mu > 0, mu, np.float32(MU_PER_CM["water"])), margin, constant_values=MU_PER_CM["water"])
    media = torch.from_numpy(padded).to(predictor.device)
    image = np.random.default_rng(0).random(mu.shape, dtype=np.float32)
    voxels = np.linspace(0, mu.size - 1, LITERAL_VOXELS).astype(np.int64)
    annihilations = np.zeros(padded.shape, dtype=np.float32)

    def spread() -> None:
        for batch in np.array_split(voxels, LITERAL_VOXELS // BATCH[predictor.device.type] or 1):
            for voxel, kernel in zip(batch, predicted_kernels(batch, media, predictor).cpu().numpy(), strict=True):
                place = np.unravel_index(voxel, mu.shape)
                annihilations[tuple(slice(start, start + KERNEL) for start in place)] += image[place] * kernel

    return seconds(spread, repeats=2) * mu.size / LITERAL_VOXELS


def measure(shape: tuple[int, int, int], device: str) -> None:
    """Compare on one image."""
    torch.manual_seed(0)
    mu, predictor, threads = torso(shape), predictor_of(PSFPredictor(), device), numba.get_num_threads()
    torch.set_num_threads(threads)
    made: list[DDConv] = []
    prediction = seconds_once(lambda: made.append(ddconv(mu, predictor, homogeneous=exponential_kernels(), threads=threads)))
    (operator,) = made
    reference = literal_seconds(mu, predictor)
    image = torch.rand(shape, device=device)
    heterogeneous = sum(block.voxels.size for block in operator.blocks)
    size = f"{'x'.join(map(str, shape))}, {heterogeneous} kernels stored in {operator.memory_mb:.0f} MB"

    def forward() -> None:
        operator(image)
        synchronise(device)

    def transpose() -> None:
        operator.adjoint(image)
        synchronise(device)

    report("positron range forward", size, seconds(forward), reference, device, threads)
    report("positron range transpose", size, seconds(transpose), reference, device, threads)
    report("positron range prediction, once a subject", size, prediction, reference, device, threads)


def measure_reconstruction(scanner_entry: str, geometry: str, tof: bool, device: str, iterations: int) -> None:
    """Compare EM iterations with and without the correction on the embedded torso, as large as a scanner's images allow."""
    # gpu_check.py takes the torso and its kernels from this module, and has none of what these need
    import yaml

    from petbench.positron_range.corrected_reconstruction import reconstructed
    from petbench.positron_range.experiment_reconstruction import scan_of

    entry = yaml.safe_load((Path(__file__).parents[1] / f"config/scanners/{scanner_entry}.yaml").read_text())
    scanner, threads = Scanner.from_entry(entry), numba.get_num_threads()
    torso = embedded_torso(TorsoSettings(), scanner.image_shape, scanner.voxel_mm)
    simulation = {"counts": 1e6, "psf_mm": 4.4, "randoms_fraction": 0.2, "scatter_fraction": 0.2, "geometry": geometry, "tof": tof}
    scan = scan_of(torso, torso.activity, scanner, simulation, "Ga68", seed=1, realisation=1)
    settings = DDConvSettings(batch=2048)  # `Even` has no features to keep in a cache
    corrected = ddconv(torso.mu, predictor_of(Even(), device), settings, exponential_kernels())
    taken = {}
    for name, operator in (("none", NoCorrection()), ("ddconv", corrected)):
        taken[name] = seconds(lambda: reconstructed(scan, operator, {"iterations": iterations}, scanner, threads, device), repeats=2)  # noqa: B023
    kernels = sum(block.voxels.size for block in corrected.blocks)
    scan_size = f"{scanner_entry}, {geometry}{', TOF' if tof else ''}, {iterations} iterations of EM"
    report(
        "corrected reconstruction, against uncorrected",
        f"{scan_size}, {kernels} kernels, {corrected.memory_mb:.0f} MB",
        taken["ddconv"],
        taken["none"],
        device,
        threads,
        factor=round(taken["ddconv"] / taken["none"], 3),
        least=round(1 + 2 * iterations * seconds(lambda: touched(corrected)) / taken["none"], 3),
    )


def touched(operator: DDConv) -> int:
    """Read all stored kernels, on all threads."""
    return sum(
        int(read(block.roots.reshape(-1).view(np.uint8)[: block.roots.nbytes // 8 * 8].view(np.uint64))) for block in operator.blocks
    )


@numba.njit(parallel=True, cache=True)
def read(words: NDArray[np.uint64]) -> np.uint64:
    total = np.uint64(0)
    for n in numba.prange(words.size):
        total += words[n]
    return total


def measure_engine(device: str) -> None:
    """Compare the fast engine with GATE in random media, starting and counting included; constants do not change its speed."""
    media = make_media({"media": [{"kind": "official", "seed": 2, "count": 4}]})
    entry = {"isotope": "Ga68", "source": "voxel", "kernel_size": 21}
    taken = {}
    with TemporaryDirectory() as folder, numba_threads(1):
        for engine, positrons, repeats in (("gate", 40_000, 1), ("fast", 400_000, 2)):
            simulation = Simulation.from_entry({**entry, "engine": engine, "positrons": positrons})
            run = partial(simulate_psfs, media, simulation, 1, folder, device if engine == "fast" else "cpu")
            once = seconds_once(run) if engine == "gate" else seconds(run, repeats)
            taken[engine] = once * 1e6 / (positrons * len(media.names))
    report("fast engine, against GATE", "4 random media, a million positrons", taken["fast"], taken["gate"], device, threads=1)


def seconds_once(call) -> float:
    """Time of a call too long to repeat."""
    from time import perf_counter

    start = perf_counter()
    call()
    return perf_counter() - start


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    measure_engine("cpu")
    if torch.cuda.is_available():
        measure_engine("cuda")
    measure((60, 44, 30), "cpu")
    if torch.cuda.is_available():
        measure((200, 200, 100), "cuda")
    place = "cuda" if torch.cuda.is_available() else "cpu"
    measure_reconstruction("torso_mmr", "oblique", tof=True, device=place, iterations=1)
    measure_reconstruction("torso_mmr", "direct", tof=False, device=place, iterations=4)
    measure_reconstruction("torso_small", "oblique", tof=True, device=place, iterations=2)
