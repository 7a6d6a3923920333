"""Linear operators on images and sinograms, and their composition into the forward model of a scan."""

from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

FWHM_PER_SIGMA = float(np.sqrt(8.0 * np.log(2.0)))


class Operator(Protocol):
    """A linear map with its transpose: <A x, y> = <x, A.adjoint(y)>."""

    def __call__(self, array: NDArray[np.floating], /) -> Array:
        """Apply the operator."""
        ...

    def adjoint(self, array: NDArray[np.floating], /) -> Array:
        """Apply its transpose."""
        ...


class Projector(Operator, Protocol):
    """An operator from images to sinograms that can be restricted to a subset of its views (axis 1 of the sinogram)."""

    @property
    def field_of_view(self) -> NDArray[np.bool_]:
        """Whether a voxel can be seen; broadcasts against the image."""
        ...

    def subset(self, index: int, count: int) -> Self:
        """The projector of every `count`-th view from `index` on."""
        ...


@dataclass(frozen=True)
class GaussianBlur:
    """Stationary Gaussian resolution of the scanner in image space, its own transpose.

    The kernel is the discrete Gaussian exp(-t) I_n(t) (Lindeberg, IEEE PAMI 1990), whose variance is exact however small the width
    is against the voxel. Outside the image there is nothing, which keeps the operator symmetric up to the edge.

    Attributes:
        fwhm_mm: Full width at half maximum of the Gaussian of the same variance; 0 leaves the image alone.
        voxel_mm: Voxel edges (x, y, z).
    """

    fwhm_mm: float
    voxel_mm: tuple[float, float, float]

    def __call__(self, image: NDArray[np.floating]) -> Array:
        """Blur an image of shape (x, y, z)."""
        from scipy import ndimage

        blurred = np.asarray(image, dtype=np.float32)
        if self.fwhm_mm > 0:
            for axis, edge in enumerate(self.voxel_mm):
                kernel = discrete_gaussian(self.fwhm_mm / FWHM_PER_SIGMA / edge)
                blurred = ndimage.correlate1d(blurred, kernel, axis=axis, mode="constant", cval=0.0)
        return blurred

    def adjoint(self, image: NDArray[np.floating]) -> Array:
        """Blur an image of shape (x, y, z): the operator is symmetric."""
        return self(image)


def discrete_gaussian(sigma: float) -> NDArray[np.float64]:
    """Discrete Gaussian of standard deviation `sigma` samples, odd in length, summing to one."""
    from scipy.special import ive

    radius = int(np.ceil(4.0 * sigma)) + 2
    kernel = ive(np.abs(np.arange(-radius, radius + 1)), sigma**2)
    return np.asarray(kernel / kernel.sum())


def attenuation_factors(projector: Operator, mu: NDArray[np.floating]) -> Array:
    """Attenuation factors exp(-P mu) of every line, in (0, 1], for `mu` of shape (x, y, z) per cm."""
    return np.exp(-projector(mu))


@dataclass(frozen=True, eq=False)
class ForwardModel:
    """Expected counts of a scan: ybar = s A(mu) P G x + background, with G the image operators and P confined to the field of view.

    Every operator is applied in both directions. The count scale is part of the model, so that reconstructions of every dose
    estimate the same activity.

    Attributes:
        projector: P, from images (x, y, z) to sinograms (radial bins, views, planes).
        attenuation: A, factors of the shape of the sinogram; None for none.
        scale: S, counts per Bq/ml cm.
        image_operators: G, in the order in which the forward model applies them (positron range before resolution).
        background: Expected randoms and scatter, of the shape of the sinogram; None for none.
    """

    projector: Projector
    attenuation: Array | None = None
    scale: float = 1.0
    image_operators: tuple[Operator, ...] = ()
    background: Array | None = None

    def __call__(self, image: NDArray[np.floating]) -> Array:
        """Expected true counts of an image in Bq/ml: the linear part of the model."""
        image = image * self.projector.field_of_view
        for operator in self.image_operators:
            image = operator(image)
        return self._weighted(self.projector(image))

    def adjoint(self, sinogram: NDArray[np.floating]) -> Array:
        """Transpose of the linear part."""
        image = self.projector.adjoint(self._weighted(sinogram))
        for operator in reversed(self.image_operators):
            image = operator.adjoint(image)
        return image * self.projector.field_of_view

    def expected(self, image: NDArray[np.floating]) -> Array:
        """Expected prompts of an image in Bq/ml: trues and background."""
        trues = self(image)
        return trues if self.background is None else trues + self.background

    def sensitivity(self, sinogram_shape: tuple[int, int, int]) -> Array:
        """Back projection of ones: expected counts per Bq/ml of every voxel."""
        return self.adjoint(np.ones(sinogram_shape, dtype=np.float32))

    def subset(self, index: int, count: int) -> "ForwardModel":
        """The model of every `count`-th view from `index` on."""
        return replace(
            self,
            projector=self.projector.subset(index, count),
            attenuation=None if self.attenuation is None else self.attenuation[:, index::count],
            background=None if self.background is None else self.background[:, index::count],
        )

    def _weighted(self, sinogram: NDArray[np.floating]) -> Array:
        scaled = sinogram * np.float32(self.scale)
        return np.asarray(scaled if self.attenuation is None else scaled * self.attenuation, dtype=np.float32)
