"""The 48 symmetries of a cube, under which positron range does not change: six orders of the axes, each with eight flips."""

from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

Symmetry = tuple[tuple[int, int, int], tuple[int, ...]]  # an order of the three axes, and the axes then flipped

CUBE_SYMMETRIES: tuple[Symmetry, ...] = tuple(
    ((first, second, third), tuple(axis for axis in range(3) if flipped[axis]))
    for first, second, third in permutations(range(3))
    for flipped in product((False, True), repeat=3)
)


def turned(cube: NDArray[np.floating], symmetry: Symmetry) -> NDArray[np.floating]:
    """A cube (K, K, K) seen under a symmetry: a view of it."""
    order, flips = symmetry
    return np.flip(cube.transpose(order), flips)


def symmetrised(cube: NDArray[np.floating]) -> NDArray[np.floating]:
    """The mean of a cube (K, K, K) under all symmetries."""
    mean: NDArray[np.floating] = np.mean([turned(cube, symmetry) for symmetry in CUBE_SYMMETRIES], axis=0)
    return mean
