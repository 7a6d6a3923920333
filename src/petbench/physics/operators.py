"""Linear operators on images and data, and their composition into the forward model of a scan."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array
from numpy.typing import NDArray

from petbench.physics.linear import LinearOperator
from petbench.physics.scanner import Scanner

Array = NDArray[np.float32]

FWHM_PER_SIGMA = float(np.sqrt(8.0 * np.log(2.0)))


class Operator(Protocol):
    """A linear map with its transpose, on NumPy arrays or torch tensors: <A x, y> = <x, A.adjoint(y)>."""

    def __call__(self, array: Any, /) -> Any:
        """Apply the operator."""
        ...

    def adjoint(self, array: Any, /) -> Any:
        """Apply its transpose."""
        ...


class Projector(Operator, Protocol):
    """An operator from images (x, y, z) to sinograms or list-mode events that can be restricted to a subset of them."""

    @property
    def scanner(self) -> Scanner:
        """The geometry."""
        ...

    @property
    def sinogram_shape(self) -> tuple[int, ...]:
        """Radial bins, views, planes, and TOF bins where there are any; the number of events in list-mode."""
        ...

    @property
    def field_of_view(self) -> NDArray[np.bool_]:
        """Whether a voxel can be seen; broadcasts against the image."""
        ...

    def subset(self, index: int, count: int) -> Self:
        """The projector of every `count`-th view (or event) from `index` on."""
        ...


@dataclass(frozen=True, eq=False)
class GaussianBlur(LinearOperator):
    """Stationary Gaussian resolution of the scanner in image space, its own transpose.

    The kernel is the discrete Gaussian exp(-t) I_n(t) (Lindeberg, IEEE PAMI 1990), whose variance is exact however small the width
    is against the voxel. Outside the image there is nothing, which keeps the operator symmetric up to the edge.

    Attributes:
        fwhm_mm: Full width at half maximum of the Gaussian of the same variance; 0 leaves the image alone.
        voxel_mm: Voxel edges (x, y, z).
        threads: Threads to run on, None for numba's own number (NUMBA_NUM_THREADS).
    """

    fwhm_mm: float
    voxel_mm: tuple[float, float, float]
    threads: int | None = None

    def kernels(self) -> list[Array]:
        """Kernels along x, y and z, each odd in length and symmetric."""
        return [discrete_gaussian(self.fwhm_mm / FWHM_PER_SIGMA / edge).astype(np.float32) for edge in self.voxel_mm]

    def on_device(self, device: Any, /) -> Any:
        """See `LinearOperator`."""
        from petbench.physics.device_blur import DeviceBlur

        return DeviceBlur(self.kernels() if self.fwhm_mm > 0 else [])

    def _forward(self, image: NDArray[np.floating]) -> Array:
        from petbench.physics.blur import separable
        from petbench.physics.projector import numba_threads

        image = np.ascontiguousarray(image, dtype=np.float32)
        if self.fwhm_mm <= 0:
            return image.copy()
        with numba_threads(self.threads):
            blurred: Array = separable(image, *self.kernels())
        return blurred

    def _transpose(self, image: NDArray[np.floating]) -> Array:
        return self._forward(image)


def discrete_gaussian(sigma: float) -> NDArray[np.float64]:
    """Discrete Gaussian of standard deviation `sigma` samples, odd in length, summing to one."""
    from scipy.special import ive

    radius = int(np.ceil(4.0 * sigma)) + 2
    kernel = ive(np.abs(np.arange(-radius, radius + 1)), sigma**2)
    return np.asarray(kernel / kernel.sum())


def attenuation_factors(projector: Operator, mu: Any) -> Any:
    """Attenuation factors exp(-P mu) of every line, in (0, 1].

    Args:
        projector: P, without TOF: a line is attenuated as a whole.
        mu: Linear attenuation at 511 keV per cm, shape (x, y, z), NumPy array or torch tensor.

    Returns:
        Factors of the projector's sinogram shape, of the kind and on the device of `mu`.
    """
    integrals = projector(mu)
    return array_namespace(integrals).exp(-integrals)


@dataclass(frozen=True, eq=False)
class ForwardModel:
    """Expected counts of a scan: ybar = s F P G x + background, with G the image operators and P confined to the field of view.

    Every operator is applied in both directions. The count scale is part of the model, so that reconstructions of every dose
    estimate the same activity. Images and data are NumPy arrays or torch tensors; through tensors gradients flow. `to` moves the
    constants to a device once; a model still on NumPy copies them anew for every tensor that lives on an accelerator.

    Attributes:
        projector: P, from images (x, y, z) to sinograms (radial bins, views, planes[, TOF bins]) or list-mode data (events,).
        factors: F, attenuation factors times whatever else multiplies the trues of a bin, such as the ring pairs of a plane; of the
            shape of the data, where the TOF axis may be missing; None for ones.
        scale: s, counts per Bq/ml cm.
        image_operators: G, in the order in which the forward model applies them (positron range before resolution).
        background: Expected randoms and scatter, of the shape of the data; None for none.
        device: torch device of the constants, None for NumPy.
    """

    projector: Projector
    factors: Any = None
    scale: float = 1.0
    image_operators: tuple[Operator, ...] = ()
    background: Any = None
    device: Any = None

    def __call__(self, image: Any) -> Any:
        """Expected true counts of an image in Bq/ml: the linear part of the model."""
        image = image * like(self._field_of_view, image)
        for operator in self.image_operators:
            image = operator(image)
        return self._weighted(self.projector(image))

    def adjoint(self, data: Any) -> Any:
        """Transpose of the linear part."""
        image = self.projector.adjoint(self._weighted(data))
        for operator in reversed(self.image_operators):
            image = operator.adjoint(image)
        return image * like(self._field_of_view, image)

    def expected(self, image: Any) -> Any:
        """Expected prompts of an image in Bq/ml: trues and background."""
        trues = self(image)
        return trues if self.background is None else trues + like(self.background, trues)

    def sensitivity(self) -> Any:
        """Back projection of ones: expected counts per Bq/ml of every voxel, shape (x, y, z)."""
        return self.adjoint(self.array(np.ones(self.projector.sinogram_shape, dtype=np.float32)))

    def subset(self, index: int, count: int) -> "ForwardModel":
        """The model of every `count`-th view (or event, in list-mode) from `index` on."""
        return replace(
            self,
            projector=self.projector.subset(index, count),
            factors=None if self.factors is None else subset_of(self.factors, index, count),
            background=None if self.background is None else subset_of(self.background, index, count),
        )

    def to(self, device: Any) -> "ForwardModel":
        """The model with its constants on a torch device, such as "cuda" or "cpu"."""
        import torch

        moved = replace(self, device=torch.device(device))
        return replace(
            moved,
            factors=None if self.factors is None else moved.array(self.factors),
            background=None if self.background is None else moved.array(self.background),
        )

    def array(self, array: Any) -> Any:
        """An array or tensor as the float32 kind the model keeps: NumPy, or a tensor on its device."""
        if self.device is None:
            return np.asarray(array, dtype=np.float32)
        import torch

        if isinstance(array, np.ndarray):
            array = _tensor(array.astype(np.float32, copy=False))
        return array.to(device=self.device, dtype=torch.float32)

    @cached_property
    def _field_of_view(self) -> Any:
        return self.array(self.projector.field_of_view)

    def _weighted(self, data: Any) -> Any:
        scale = float(self.scale)
        if self.factors is None:
            return data * scale
        factors = like(self.factors, data)
        # Without a TOF axis, the factor of a line holds for all its TOF bins.
        factors = factors[..., None] if factors.ndim < data.ndim else factors
        return data * factors * scale


def subset_of(data: Any, index: int, count: int) -> Any:
    """Every `count`-th view of a sinogram (its axis 1), or every `count`-th list-mode event, from `index` on."""
    return data[index::count] if data.ndim == 1 else data[:, index::count]


def like(constant: Any, array: Any) -> Any:
    """A constant as float32 of the kind of `array`, on its device; it is copied only where it must be."""
    if is_numpy_array(array):
        return np.asarray(constant, dtype=np.float32)
    constant = _tensor(constant) if is_numpy_array(constant) else constant
    return constant.to(device(array)).float()


def _tensor(array: NDArray[Any]) -> Any:
    import torch

    # torch would warn of memory that it must not write, such as a mapped file; nothing here writes to it.
    return torch.from_numpy(array if array.flags.writeable else array.copy())
