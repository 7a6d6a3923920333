"""Kernels of single voxels, stored compactly and applied as one operator.

Kernels are cut to the smallest cube that holds nearly all of them and stored as square roots, in 16 bits or in float32. Steps of a root
are finest where the kernel is small: 16 bits err by 4e-5 of a kernel in all (l1, Ga-68 at 2 mm), a fifth of what half precision does.
Each kernel is divided by the sum of what was stored, in float32, on application, so that activity is conserved.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float32]
Indices = NDArray[np.int64]

STORAGES = ("uint16", "float32")
LARGEST_CODE = 2**16 - 1


@dataclass(frozen=True, eq=False)
class Block:
    """Voxels whose kernels have one size; several voxels may share a kernel.

    Attributes:
        voxels: Indices in the flattened image, ascending, (N,).
        which: The kernel of each voxel, (N,).
        roots: Square roots of the kernels, to a scale, (M, S, S, S).
        scales: What squares of `roots` are multiplied by, (M,).
    """

    voxels: Indices
    which: NDArray[np.int32]
    roots: NDArray[np.generic]
    scales: Array

    @property
    def margin(self) -> int:
        """Half the kernels' size."""
        return int(self.roots.shape[1]) // 2

    @property
    def mb(self) -> float:
        """Memory in MB."""
        return sum(array.nbytes for array in (self.voxels, self.which, self.roots, self.scales)) / 1e6


def check_storage(storage: str) -> None:
    """Check the name of a storage format.

    Raises:
        InputError: it is unknown.
    """
    if storage not in STORAGES:
        raise InputError(f"storage: {storage!r} is unknown; choose one of {', '.join(STORAGES)}.")


def make_blocks(kernels: "Tensor", which: NDArray[np.integer], voxels: Indices, storage: str, crop: float) -> list[Block]:
    """Store the kernels of some voxels, a block for each size that they are cut to.

    Args:
        kernels: (M, K, K, K), non-negative, on the device that predicted them.
        which: The kernel of each voxel, (N,).
        voxels: Indices in the flattened image, ascending, (N,).
        storage: `uint16` or `float32`.
        crop: Share of a kernel's sum that may be cut off; the rest is scaled up by it.
    """
    import torch

    margins = cropped_margins(kernels, crop)
    sums = kernels.sum(dim=(1, 2, 3), dtype=torch.float64)
    blocks = []
    for margin in sorted(set(margins.tolist())):
        own = margins == margin
        roots, scales = stored(middle(kernels[own], margin), sums[own], storage)
        is_own = own.cpu().numpy()
        renumbered = np.where(is_own, np.cumsum(is_own) - 1, -1).astype(np.int32)[which]
        chosen = np.flatnonzero(renumbered >= 0)
        blocks.append(Block(voxels[chosen], renumbered[chosen], roots, scales))
    return blocks


def middle(cubes: "Tensor", margin: int) -> "Tensor":
    """The middle 2 * margin + 1 voxels of cubes (M, K, K, K)."""
    first = cubes.shape[-1] // 2 - margin
    cut = slice(first, first + 2 * margin + 1)
    return cubes[:, cut, cut, cut]


def cropped_margins(kernels: "Tensor", crop: float) -> "Tensor":
    """The least half size of each kernel (M, K, K, K) outside which at most the share `crop` of it lies, (M,)."""
    import torch

    half = kernels.shape[-1] // 2
    if crop <= 0:
        return torch.full((len(kernels),), half, device=kernels.device)
    inside = torch.stack([middle(kernels, margin).sum(dim=(1, 2, 3), dtype=torch.float64) for margin in range(half + 1)])
    return (inside < (1 - crop) * inside[-1]).sum(dim=0)


def stored(kernels: "Tensor", sums: "Tensor", storage: str) -> tuple[NDArray[np.generic], Array]:
    """Square roots of kernels (M, S, S, S) in a storage format, and the scales at which their squares have the `sums` (M,)."""
    import torch

    roots = kernels.sqrt()
    if storage == "uint16":
        roots = (roots * (LARGEST_CODE / roots.amax(dim=(1, 2, 3), keepdim=True))).round()
    scales = (sums / roots.square().sum(dim=(1, 2, 3), dtype=torch.float64)).float().cpu().numpy()
    if storage == "uint16":
        # By way of signed numbers, which every device converts.
        return roots.to(torch.int32).to(torch.int16).cpu().numpy().view(np.uint16), scales
    return roots.contiguous().cpu().numpy(), scales


def merged(blocks: Iterable[Block]) -> list[Block]:
    """Join blocks of one size, so that each is applied in one sweep; voxels may come in any order of blocks."""
    by_margin: dict[int, list[Block]] = {}
    for block in blocks:
        by_margin.setdefault(block.margin, []).append(block)
    joined = []
    for margin in sorted(by_margin):
        parts = by_margin.pop(margin)
        before = np.cumsum([0, *(len(part.scales) for part in parts[:-1])])
        voxels = np.concatenate([part.voxels for part in parts])
        which = np.concatenate([part.which + first for part, first in zip(parts, before, strict=True)]).astype(np.int32)
        order = np.argsort(voxels, kind="stable")
        roots, scales = np.concatenate([part.roots for part in parts]), np.concatenate([part.scales for part in parts])
        joined.append(Block(voxels[order], which[order], roots, scales))
    return joined


def scatter_blocks(image: Array, blocks: Iterable[Block], margin: int, threads: int | None, keeps: bool = False) -> Array:
    """Sum of the kernels of the blocks' voxels, each times its voxel's value; the shape of `image`.

    Args:
        image: (x, y, z).
        blocks: Of margins up to `margin`.
        margin: Voxels to pad by.
        threads: Threads to run on, None for numba's own number.
        keeps: Whether what falls beyond the image is put into its outermost voxels; else it is lost.
    """
    from petbench.physics.projector import numba_threads
    from petbench.positron_range.kernels_range import scatter

    padded = np.zeros([size + 2 * margin for size in image.shape], dtype=np.float32)
    flat = np.ascontiguousarray(image, dtype=np.float32).reshape(-1)
    with numba_threads(threads):
        for block in blocks:
            centres = padded_indices(block.voxels, image.shape, margin)
            scatter(padded, flat[block.voxels], centres, block.which, block.roots, block.scales)
    return (folded if keeps else cut)(padded, margin)


def cut(padded: Array, margin: int) -> Array:
    """A padded image without its margin."""
    return padded[tuple(slice(margin, size - margin) for size in padded.shape)]


def folded(padded: Array, margin: int) -> Array:
    """A padded image without its margin, whose values are added to the outermost voxels: the transpose of padding with these."""
    for axis in range(padded.ndim):
        lines = np.moveaxis(padded, axis, 0)
        lines[margin] += lines[:margin].sum(axis=0)
        lines[-margin - 1] += lines[len(lines) - margin :].sum(axis=0)
    return cut(padded, margin)


def gather_blocks(image: Array, blocks: Iterable[Block], margin: int, threads: int | None, keeps: bool = False) -> Array:
    """Transpose of `scatter_blocks`; voxels without a kernel are zero."""
    from petbench.physics.projector import numba_threads
    from petbench.positron_range.kernels_range import gather

    padded = np.pad(np.asarray(image, dtype=np.float32), margin, mode="edge" if keeps else "constant")
    out = np.zeros(image.size, dtype=np.float32)
    with numba_threads(threads):
        for block in blocks:
            centres = padded_indices(block.voxels, image.shape, margin)
            out[block.voxels] = gather(padded, centres, block.which, block.roots, block.scales)
    return out.reshape(image.shape)


def padded_indices(voxels: Indices, shape: tuple[int, ...], margin: int) -> Indices:
    """Indices of voxels in the flattened image once it is padded by `margin` on every side."""
    x, y, z = np.unravel_index(voxels, shape)
    return np.asarray(((x + margin) * (shape[1] + 2 * margin) + y + margin) * (shape[2] + 2 * margin) + z + margin, dtype=np.int64)


def window_offsets(shape: tuple[int, ...], half: int, margin: int) -> Indices:
    """What to add to a `padded_indices` to reach the (2 * half + 1)^3 voxels about it, flattened."""
    places = np.arange(-half, half + 1)
    row = shape[2] + 2 * margin
    plane = row * (shape[1] + 2 * margin)
    offsets: Indices = np.add.outer(np.add.outer(places * plane, places * row), places).ravel()
    return offsets


def in_parts(voxels: Indices, size: int) -> Iterator[Indices]:
    """Voxels `size` at a time."""
    for start in range(0, len(voxels), size):
        yield voxels[start : start + size]
