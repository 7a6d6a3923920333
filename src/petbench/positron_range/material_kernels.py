"""Point spread functions as kernels, and the kernels of homogeneous materials (DDConv, appendix A; SVTD)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.isotopes import isotope as isotope_named
from petbench.positron_range.homogeneity import training_materials
from petbench.positron_range.media import around_the_middle
from petbench.positron_range.psf_set import PsfSet, read_psf_set
from petbench.positron_range.symmetries import symmetrised

Array = NDArray[np.float32]

TAILS = ("renormalise", "lose")
# The mean of the voxel edges may differ from the kernels' by this share, and the longest from the shortest by that.
VOXEL_TOLERANCE, CUBE_TOLERANCE = 0.01, 0.03


@dataclass(frozen=True, eq=False)
class MaterialKernels:
    """The kernel of each homogeneous material.

    Attributes:
        isotope: The positron emitter.
        voxel_mm: Edge of the cubic voxels.
        source: `point` or `voxel`.
        mu_per_cm: Attenuation at 511 keV of each material, by name.
        kernels: One for each, (L, K, K, K).
    """

    isotope: str
    voxel_mm: float
    source: str
    mu_per_cm: Mapping[str, float]
    kernels: Array


def kernels_of(psfs: PsfSet, size: int, tail: str) -> Array:
    """Counts as probabilities, cut to `size`.

    Args:
        psfs: Annihilations around the source.
        size: Edge of the kernels, odd, at most the set's.
        tail: `renormalise`, each kernel has sum one (the paper); `lose`, what was further away is lost.

    Returns:
        (N, size, size, size).

    Raises:
        InputError: the tail is unknown, the size too large, or no positron stayed within it.
    """
    if tail not in TAILS:
        raise InputError(f"tail: {tail!r} is unknown; choose one of {', '.join(TAILS)}.")
    cut = cut_to(psfs, size)
    counts = psfs.counts[:, cut, cut, cut].astype(np.float64)
    inside = counts.sum(axis=(1, 2, 3))
    if not inside.all():
        raise InputError(f"kernel_size: no positron of {psfs.names[int(np.argmin(inside))]} stays within {size} voxels; use a larger one.")
    total = inside if tail == "renormalise" else psfs.positrons.astype(np.float64)
    return (counts / total[:, None, None, None]).astype(np.float32)


def cut_to(psfs: PsfSet, size: int) -> slice:
    """The middle `size` voxels of a set's kernels.

    Raises:
        InputError: the size is even, or larger than the set's.
    """
    if size % 2 == 0 or not 0 < size <= psfs.kernel_size:
        raise InputError(f"kernel_size: {size} cannot be cut from kernels of {psfs.kernel_size} voxels; use an odd size up to that.")
    return around_the_middle(psfs.kernel_size, size)


def truncated_fractions(psfs: PsfSet, size: int) -> dict[str, float]:
    """Share of the positrons that annihilate further away than `size` voxels reach, by medium.

    Raises:
        InputError: the size is larger than the set's.
    """
    cut = cut_to(psfs, size)
    inside = psfs.counts[:, cut, cut, cut].sum(axis=(1, 2, 3), dtype=np.int64)
    return dict(zip(psfs.names, (1 - inside / psfs.positrons).tolist(), strict=True))


def material_kernels(psfs: PsfSet, size: int, tail: str = "renormalise") -> MaterialKernels:
    """Kernels of the homogeneous media in a set, averaged over the cube's symmetries, which divides their noise by about seven.

    Args:
        psfs: A set with homogeneous media, water among them; several of one material are joined.
        size: Edge of the kernels, odd, at most the set's.
        tail: See `kernels_of`.

    Raises:
        InputError: a homogeneous medium is missing or of no known material; see also `kernels_of`.
    """
    flat = psfs.mu.reshape(len(psfs.mu), -1)
    uniform = np.flatnonzero(flat.min(axis=1) == flat.max(axis=1))
    if uniform.size == 0:
        raise InputError("psf_set: it holds no homogeneous medium; simulate one of each material.")
    materials = training_materials(flat[uniform])
    kernels = kernels_of(psfs, size, tail)
    means = []
    for mu in materials.values():
        own = uniform[np.isclose(flat[uniform, 0], mu, rtol=1e-4, atol=0)]
        means.append(symmetrised(np.average(kernels[own], axis=0, weights=psfs.positrons[own])))
    origin = psfs.origin
    return MaterialKernels(origin.isotope, origin.voxel_mm, origin.source, materials, np.stack(means).astype(np.float32))


def read_material_kernels(path: str | Path, size: int | None = None, tail: str = "renormalise") -> MaterialKernels:
    """Read a set of point spread functions and make its `material_kernels`; `size` None takes the set's.

    Raises:
        InputError: see `read_psf_set` and `material_kernels`.
    """
    psfs = read_psf_set(path)
    try:
        return material_kernels(psfs, psfs.kernel_size if size is None else size, tail)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def check_kernels(
    kernels: MaterialKernels, isotope: str, voxel_mm: tuple[float, float, float], materials: Sequence[str], size: int | None = None
) -> None:
    """Check that kernels fit what they are applied to.

    Raises:
        InputError: they are of another isotope, voxel or kernel size, or lack a material.
    """
    if kernels.isotope != isotope_named(isotope).name:
        raise InputError(f"kernels: simulated for {kernels.isotope}, but {isotope} is asked for; give those of that isotope.")
    check_voxels("kernels", kernels.voxel_mm, voxel_mm)
    if missing := [name for name in materials if name not in kernels.mu_per_cm]:
        raise InputError(f"kernels: there is none of {missing[0]}; simulate that material too.")
    if size is not None and kernels.kernels.shape[-1] != size:
        raise InputError(f"kernels: of {kernels.kernels.shape[-1]} voxels, but the predictor's have {size}; cut them to that size.")


def check_voxels(what: str | Path, voxel_mm: float, image_mm: tuple[float, float, float]) -> None:
    """Check that kernels of cubic voxels fit an image's voxels.

    Args:
        what: File or field, named in the message.
        voxel_mm: Edge of the kernels' voxels.
        image_mm: Edges of the image's, such as the Biograph mMR's 2.0863 x 2.0863 x 2.0313, of mean 2.068.

    Raises:
        InputError: the voxels are not of that volume, to one percent of an edge, or no cubes, to three.
    """
    edges, mean = " x ".join(f"{edge:g}" for edge in image_mm), float(np.prod(image_mm)) ** (1 / 3)
    if abs(mean / voxel_mm - 1) > VOXEL_TOLERANCE:
        raise InputError(f"{what}: made for voxels of {voxel_mm:g} mm, but the image has {edges} mm; resample it or give another file.")
    if max(image_mm) > (1 + CUBE_TOLERANCE) * min(image_mm):
        raise InputError(f"{what}: made for cubic voxels, but the image has {edges} mm; resample it.")
