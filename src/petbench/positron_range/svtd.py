"""SVTD: spatially-variant, tissue-dependent positron range from kernels of homogeneous materials (Kertesz et al., Front. Physiol. 13
(2022) 818463), the comparator of DDConv.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.physics.linear import LinearOperator
from petbench.positron_range.convolution import Convolution, unrounded
from petbench.positron_range.homogeneity import WATER, material_labels
from petbench.positron_range.material_kernels import MaterialKernels, check_kernels

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SVTD(LinearOperator):
    """Annihilation in k of a positron from j with w(j to k) = h(k - j) / n, h the kernel of k's material and n its sum over k.

    The sum over each material's voxels is a convolution of x / n masked by that material, so the literal, voxel-wise definition costs one
    convolution a material. Beyond the image lies water: n counts it, and what falls there is lost. Made by `svtd`.

    Attributes:
        image_shape: Of the images, (x, y, z).
        masks: Each material's voxels, (x, y, z).
        convolutions: With each material's kernel.
        weights: 1 / n, (x, y, z).
    """

    image_shape: tuple[int, ...]
    masks: tuple[NDArray[np.bool_], ...]
    convolutions: tuple[Convolution, ...]
    weights: Array

    def on_device(self, device: Any, /) -> Any:
        """See `LinearOperator`."""
        from petbench.positron_range.device_range import DeviceSVTD

        return DeviceSVTD(self.masks, self.convolutions, self.weights, device)

    def _forward(self, image: NDArray[np.floating], /) -> Array:
        image = self._checked(image)
        spectrum = self.convolutions[0].spectrum(image * self.weights)
        out = np.zeros(self.image_shape, dtype=np.float32)
        for mask, convolution in zip(self.masks, self.convolutions, strict=True):
            np.copyto(out, convolution.inverse(spectrum * convolution.transfer), where=mask)
        return unrounded(out, image)

    def _transpose(self, image: NDArray[np.floating], /) -> Array:
        image, convolve = self._checked(image), self.convolutions[0]
        spectra = (
            c.spectrum(np.where(mask, image, np.float32(0))) * c.transfer.conj()
            for mask, c in zip(self.masks, self.convolutions, strict=True)
        )
        gathered = convolve.inverse(sum(spectra, start=np.zeros((), dtype=np.complex64)))
        return unrounded(gathered * self.weights, image)

    def _checked(self, image: NDArray[np.floating]) -> Array:
        from petbench.physics.projector import check_shape

        check_shape(image, self.image_shape)
        return np.asarray(image, dtype=np.float32)


def svtd(
    mu: NDArray[np.floating],
    voxel_mm: Sequence[float],
    kernels: MaterialKernels,
    isotope: str,
    threads: int | None = None,
    nearest: str = "ratio",
    air: str = WATER,
) -> SVTD:
    """Make the operator of a subject.

    Args:
        mu: Attenuation per cm at 511 keV, (x, y, z).
        voxel_mm: Voxel edges.
        kernels: Of the scan's isotope; their tail decides whether activity is lost, for the weights are scaled to the kernels' sums.
        isotope: The scan's.
        threads: Threads to run on, None for numba's own number.
        nearest: As for `material_labels`.
        air: As for `material_labels`.

    Raises:
        InputError: the attenuation is outside the known materials, or the kernels are of another isotope or voxel size.
    """
    x_mm, y_mm, z_mm = (float(edge) for edge in voxel_mm)
    check_kernels(kernels, isotope, (x_mm, y_mm, z_mm), [WATER])
    names, size = list(kernels.mu_per_cm), kernels.kernels.shape[-1]
    labels = material_labels(np.asarray(mu, dtype=np.float32), kernels.mu_per_cm, nearest, air)
    padded = np.pad(labels, size // 2, constant_values=names.index(WATER))
    present = [material for material in range(len(names)) if (padded == material).any()]
    inside = tuple(slice(size // 2, side - size // 2) for side in padded.shape)
    sums = np.zeros(labels.shape, dtype=np.float32)
    for material in present:
        convolution = Convolution.of(padded.shape, kernels.kernels[material], threads)
        sums += convolution.transpose((padded == material).astype(np.float32))[inside]
    total = kernels.kernels.sum(axis=(1, 2, 3))
    weights = total[labels] / sums
    masks = tuple(labels == material for material in present)
    convolutions = tuple(Convolution.of(labels.shape, kernels.kernels[material], threads) for material in present)
    return SVTD(labels.shape, masks, convolutions, weights)
