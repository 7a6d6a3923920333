"""Mutual information of two images under a pose, compiled, and a search for the best pose from any starting angle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

Array = NDArray[np.float32]
Doubles = NDArray[np.float64]

BINS = 16
STEP_DEG = 45
SHIFT_MM = 25.0
BEST = 12
"""Starting poses of the survey that are refined."""


@dataclass(frozen=True)
class Pair:
    """Two images cut into levels, between whose worlds poses (4, 4) map.

    Attributes:
        levels: Level of the fixed image at each point, (n,).
        points: Where the points are in the fixed image's world, mm, (n, 3).
        moving: The moving image in units of levels, 0 to `BINS` - 1, (x, y, z).
        to_index: World of the moving image to its voxels, (4, 4).
    """

    levels: NDArray[np.int64]
    points: Doubles
    moving: Array
    to_index: Doubles

    def information(self, pose: Doubles) -> float:
        """Mutual information in nats, the moving image seen where `pose` takes the points; beyond it all is background."""
        matrix = self.to_index @ pose
        return float(_information(self.levels, self.points, self.moving, matrix[:3, :3].copy(), matrix[:3, 3].copy(), BINS))


def in_levels(data: NDArray[np.floating], low: float, high: float) -> Array:
    """An image in units of levels, 0 at `low` and `BINS` - 1 at `high`, clipped beyond."""
    return np.clip((data - low) * ((BINS - 1) / (high - low)), 0, BINS - 1).astype(np.float32)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _information(levels: NDArray[np.int64], points: Doubles, moving: Array, matrix: Doubles, shift: Doubles, bins: int) -> float:
    counts = np.zeros((bins, bins))
    nx, ny, nz = moving.shape
    for n in range(len(levels)):
        x = matrix[0, 0] * points[n, 0] + matrix[0, 1] * points[n, 1] + matrix[0, 2] * points[n, 2] + shift[0]
        y = matrix[1, 0] * points[n, 0] + matrix[1, 1] * points[n, 1] + matrix[1, 2] * points[n, 2] + shift[1]
        z = matrix[2, 0] * points[n, 0] + matrix[2, 1] * points[n, 1] + matrix[2, 2] * points[n, 2] + shift[2]
        value = 0.0
        if 0 <= x < nx - 1 and 0 <= y < ny - 1 and 0 <= z < nz - 1:
            i, j, k = int(x), int(y), int(z)
            u, v, w = x - i, y - j, z - k
            for a in range(2):
                for b in range(2):
                    share = (u if a else 1 - u) * (v if b else 1 - v)
                    value += share * ((1 - w) * moving[i + a, j + b, k] + w * moving[i + a, j + b, k + 1])
        # A value between two levels counts in both, so that the sum follows a pose smoothly.
        lower = min(int(value), bins - 2)
        upper = value - lower
        counts[levels[n], lower] += 1 - upper
        counts[levels[n], lower + 1] += upper
    total = counts.sum()
    of_fixed, of_moving = counts.sum(axis=1), counts.sum(axis=0)
    found = 0.0
    for p in range(bins):
        for q in range(bins):
            if counts[p, q] > 0:
                found += counts[p, q] / total * np.log(counts[p, q] * total / (of_fixed[p] * of_moving[q]))
    return found


def starting_rotations() -> list[Doubles]:
    """Every rotation by multiples of 45 degrees about the three axes, each (3, 3) and once."""
    found: dict[tuple[float, ...], Doubles] = {}
    for angles in product(range(0, 360, STEP_DEG), (0, -45, 45, -90, 90), range(0, 360, STEP_DEG)):
        matrix = Rotation.from_euler("ZYX", angles, degrees=True).as_matrix()
        found.setdefault(tuple(np.round(matrix, 6).ravel() + 0.0), matrix)
    return list(found.values())


def right_angles() -> list[Doubles]:
    """Turns by 90, 180 and 270 degrees about each axis, (3, 3)."""
    return [Rotation.from_euler(axis, angle, degrees=True).as_matrix() for axis in "xyz" for angle in (90, 180, 270)]


def about(centre: Doubles, rotation: Doubles, onto: Doubles) -> Doubles:
    """The pose (4, 4) that turns points about `centre` and takes that to `onto`."""
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = onto - rotation @ centre
    return pose


def moved(pose: Doubles, centre: Doubles, parameters: Sequence[float] | Doubles) -> Doubles:
    """A pose changed by a rotation vector (degrees) about `centre`, a point of the fixed world, and a shift (mm), (6,)."""
    turn = about(centre, Rotation.from_rotvec(np.asarray(parameters[:3]), degrees=True).as_matrix(), centre + np.asarray(parameters[3:]))
    return np.asarray(pose @ turn)


def refined(of: Callable[[Doubles], float], pose: Doubles, centre: Doubles, step: float) -> tuple[Doubles, float]:
    """The pose near `pose` where a measure is largest, and its value there (Powell's search, first steps of `step` mm and degrees)."""
    directions = np.eye(6) * step
    done = minimize(
        lambda parameters: -of(moved(pose, centre, parameters)),
        np.zeros(6),
        method="Powell",
        options={"direc": directions, "xtol": 0.05, "ftol": 1e-4, "maxfev": 600},
    )
    return moved(pose, centre, done.x), -float(done.fun)


def survey(pair: Pair, centre: Doubles, onto: Doubles) -> list[tuple[float, Doubles]]:
    """Refined poses from all starting angles, each with its mutual information, the best first.

    Every angle of `starting_rotations` is tried about the head's centre, with shifts of `SHIFT_MM` as the centres of what is seen of a head
    in PET and in MR, neck and all, are not one; the best `BEST` are refined.

    Args:
        pair: The images, coarse: voxels of a centimetre are enough to tell angles apart.
        centre: The head's centre in the fixed image's world, mm, (3,).
        onto: The same in the moving image's.
    """
    shifts = [np.zeros(3), *(sign * SHIFT_MM * axis for axis in np.eye(3) for sign in (-1, 1))]
    starts = []
    for rotation in starting_rotations():
        poses = [about(centre, rotation, onto + rotation @ shift) for shift in shifts]
        starts.append(max(((pair.information(pose), pose) for pose in poses), key=lambda tried: tried[0]))
    starts.sort(key=lambda tried: -tried[0])
    found = [refined(pair.information, pose, centre, 8.0) for _, pose in starts[:BEST]]
    return sorted(((value, pose) for pose, value in found), key=lambda tried: -tried[0])
