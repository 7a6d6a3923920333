"""Convolutions with one kernel, by fast Fourier transform; nothing lies beyond an image, and what leaves it is lost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Spectrum = NDArray[np.complex64]


@dataclass(frozen=True, eq=False)
class Convolution:
    """Convolution of images of one shape with a kernel of odd size, and its transpose.

    A positron from j annihilates in k with probability kernel[k - j + margin], so the convolution scatters and its transpose, the
    correlation, gathers. Kernels need not be symmetric.

    Attributes:
        shape: Of the images.
        margin: Half the kernel, (K - 1) / 2.
        padded: Shape of the transform: image and kernel, rounded up to quick sizes.
        transfer: Transform of the kernel, for the half of the frequencies that a real image needs.
        threads: Threads to run on, None for numba's own number.
    """

    shape: tuple[int, ...]
    margin: int
    padded: tuple[int, ...]
    transfer: Spectrum
    threads: int | None

    @classmethod
    def of(cls, shape: Sequence[int], kernel: NDArray[np.floating], threads: int | None = None) -> "Convolution":
        """Prepare the convolution of images of `shape` with `kernel`, (K, K, K)."""
        from scipy.fft import next_fast_len

        margin = kernel.shape[0] // 2
        # A wrapped copy may reach the margin beyond the image, which is cut off, but not the image.
        padded = tuple(next_fast_len(int(size) + margin, real=True) for size in shape)
        # Kernel index 0 stands for -margin: rolled there, the convolved image lies where the image lay.
        centred = np.zeros(padded, dtype=np.float32)
        sizes = np.arange(kernel.shape[0]) - margin
        np.add.at(centred, np.ix_(*((sizes % size) for size in padded)), kernel.astype(np.float32))
        return cls(tuple(int(size) for size in shape), margin, padded, _transformed(centred, padded, threads), threads)

    def forward(self, image: Array) -> Array:
        """Scatter an image of `shape`; the same shape."""
        return self.inverse(self.spectrum(image) * self.transfer)

    def transpose(self, image: Array) -> Array:
        """Gather from an image of `shape`; the same shape."""
        return self.inverse(self.spectrum(image) * self.transfer.conj())

    def spectrum(self, image: Array) -> Spectrum:
        """Transform of an image, zero beyond it; all convolutions of one shape and kernel size share it."""
        return _transformed(image, self.padded, self.threads)

    def inverse(self, spectrum: Spectrum) -> Array:
        """The image of a transform."""
        from scipy.fft import irfftn

        image: Array = irfftn(spectrum, s=self.padded, workers=_workers(self.threads), overwrite_x=True)
        return image[tuple(slice(size) for size in self.shape)]


def _transformed(image: NDArray[np.floating], padded: Sequence[int], threads: int | None) -> Spectrum:
    from scipy.fft import rfftn

    spectrum: Spectrum = rfftn(image, s=tuple(padded), workers=_workers(threads))
    return spectrum


def unrounded(out: Array, image: NDArray[np.floating]) -> Array:
    """Set to zero what the transform's rounding made negative, where image and kernels are not: expectation maximisation relies on it."""
    return np.maximum(out, 0, out=out) if image.min() >= 0 else out


def _workers(threads: int | None) -> int:
    if threads is not None:
        return threads
    import numba

    return int(numba.get_num_threads())


def correlate(image: Array, kernel: NDArray[np.floating], threads: int | None = None) -> Array:
    """Sum of an image weighted by a kernel (K, K, K) about each voxel, where the kernel lies in it: (x - K + 1, y - K + 1, z - K + 1)."""
    gathered = Convolution.of(image.shape, kernel, threads).transpose(image)
    margin = kernel.shape[0] // 2
    return gathered[tuple(slice(margin, size - margin) for size in image.shape)]
