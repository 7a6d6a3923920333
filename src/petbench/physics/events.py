"""The two forms of a scan's data: counts by bin (sinogram) and counts one by one (list mode), and the ways from one to the other."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.counts import thin
from petbench.physics.doses import Dose, check_fraction
from petbench.physics.isotopes import isotope

Array = NDArray[np.float32]

MS_PER_S = 1000
AT_A_TIME = 1 << 22  # bins or events, so that whatever is needed in between stays small


@dataclass(frozen=True, eq=False)
class Sinogram:
    """Counts by bin, of shape (radial bins, views, planes) and with time of flight a fourth axis of its bins.

    Attributes:
        prompts: Counts recorded.
        background: Expected randoms and scatter.
    """

    prompts: NDArray[np.uint32]
    background: Array

    @property
    def counts(self) -> int:
        """Prompts recorded."""
        return int(self.prompts.sum(dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Events:
    """Counts one by one in the order of time; every array has the shape (events,).

    Attributes:
        radial: Radial bin.
        view: View.
        plane: Plane of the geometry.
        tof: Time-of-flight bin, None where the scan has none.
        time_ms: Milliseconds since the start of the scan, never falling.
        background: Expected randoms and scatter of the whole scan in the event's bin.
    """

    radial: NDArray[np.uint16]
    view: NDArray[np.uint16]
    plane: NDArray[np.uint32]
    tof: NDArray[np.uint16] | None
    time_ms: NDArray[np.uint32]
    background: Array

    @property
    def counts(self) -> int:
        """Prompts recorded."""
        return int(self.radial.size)

    @property
    def bins(self) -> tuple[NDArray[np.unsignedinteger[Any]], ...]:
        """Index arrays of the events' bins along each axis of a sinogram."""
        line = (self.radial, self.view, self.plane)
        return line if self.tof is None else (*line, self.tof)

    def chosen(self, which: slice | NDArray[np.generic]) -> "Events":
        """Some of the events, in their order."""
        tof = None if self.tof is None else self.tof[which]
        return Events(self.radial[which], self.view[which], self.plane[which], tof, self.time_ms[which], self.background[which])


def events_from_sinogram(sinogram: Sinogram, seconds: float, isotope_name: str, seed: int) -> Events:
    """Turn every count of a sinogram into one event, at a random time of a decaying source.

    Given its bin, an event's time has the density 2^(-t / half-life) over the scan: the order says nothing about the bin. Memory: some
    40 bytes an event beside the sinogram.

    Args:
        sinogram: Counts with their expected background.
        seconds: Duration of the scan.
        isotope_name: What decays.
        seed: Seed of times and order.

    Raises:
        InputError: the isotope is unknown.
    """
    rng = np.random.default_rng(seed)
    bins = _occupied_bins(sinogram.prompts)
    rng.shuffle(bins)
    stored = sinogram.background.swapaxes(0, 1)
    view, radial, tof = (np.empty(bins.size, dtype=np.uint16) for _ in range(3))
    plane = np.empty(bins.size, dtype=np.uint32)  # of a long scanner there are more than 16 bits count
    index = (view, radial, plane, tof)[: stored.ndim]
    for start in range(0, bins.size, AT_A_TIME):
        part = slice(start, start + AT_A_TIME)
        for whole, values in zip(index, np.unravel_index(bins[part], stored.shape), strict=True):
            whole[part] = values
    background = stored[index]
    time_ms = _times_ms(bins.size, seconds, isotope(isotope_name).half_life_s, rng)
    return Events(radial, view, plane, tof if stored.ndim == 4 else None, time_ms, background)


def sinogram_from_events(events: Events, shape: tuple[int, ...]) -> NDArray[np.uint32]:
    """Histogram the events into prompts of `shape`: (radial bins, views, planes), with a fourth axis for time-of-flight bins.

    Raises:
        ValueError: the shape has a time-of-flight axis and the events none, or the other way round.
        IndexError: an event lies outside the shape.
    """
    if len(events.bins) != len(shape):
        raise ValueError(f"events with {len(events.bins)} indices cannot fill a sinogram of shape {shape}")
    radial, view, plane, *tof = events.bins
    bins, views, *rest = shape
    stored = np.zeros((views, bins, *rest), dtype=np.uint32)
    np.add.at(stored, (view, radial, plane, *tof), np.uint32(1))
    return stored.swapaxes(0, 1)


def thinned(data: Sinogram | Events, dose: Dose, seed: int) -> Sinogram | Events:
    """The data of a lower dose drawn from those of the standard dose, with the background of the lower dose.

    A shorter scan of list-mode data is cut by time; otherwise every count is kept with the probability `dose.fraction`.

    Raises:
        InputError: the fraction is outside (0, 1].
    """
    check_fraction(dose.fraction)
    if dose.fraction == 1:
        return data
    fraction = np.float32(dose.fraction)
    if isinstance(data, Sinogram):
        return Sinogram(thin(data.prompts, dose.fraction, seed), data.background * fraction)
    if dose.kind == "seconds":
        kept = data.chosen(slice(0, int(np.searchsorted(data.time_ms, dose.value * MS_PER_S))))
    else:
        kept = data.chosen(np.random.default_rng(seed).random(data.counts, dtype=np.float32) < fraction)
    return Events(kept.radial, kept.view, kept.plane, kept.tof, kept.time_ms, kept.background * fraction)


def check_events(events: Events, shape: tuple[int, ...], seconds: float | None, path: str) -> None:
    """Check events against the sinogram they belong to and the duration of the scan, None where it is not known.

    Raises:
        InputError: the arrays differ in length, an event lies outside the sinogram, or times fall or go beyond the scan; names the
            file.
    """
    for name, array in vars(events).items():
        if array is not None and array.shape != (events.counts,):
            raise InputError(f"{path}: events/{name} has shape {array.shape}, events/radial ({events.counts},); write the file again.")
    for name, index, size in zip(("radial", "view", "plane", "tof"), events.bins, shape, strict=False):
        if index.size and int(index.max()) >= size:
            raise InputError(f"{path}: events/{name} rises to {index.max()}, the scanner has {size}; read it with its own scanner entry.")
    if (events.time_ms[1:] < events.time_ms[:-1]).any():
        raise InputError(f"{path}: events/time_ms falls; sort the events by time.")
    if seconds is not None and events.counts and events.time_ms[-1] > seconds * MS_PER_S:
        raise InputError(f"{path}: events/time_ms rises to {events.time_ms[-1]}, beyond the scan's {seconds:g} s; give its duration.")


def _occupied_bins(prompts: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Flat index, views first, of each count's bin, rising; a bin of three counts appears three times."""
    flat = np.ascontiguousarray(prompts.swapaxes(0, 1)).reshape(-1)
    parts = []
    for start in range(0, flat.size, AT_A_TIME):
        part = flat[start : start + AT_A_TIME]
        where = np.flatnonzero(part)
        parts.append(np.repeat(where + start, part[where]))
    return np.concatenate(parts).astype(np.int64)


def _times_ms(count: int, seconds: float, half_life_s: float, rng: np.random.Generator) -> NDArray[np.uint32]:
    """Sorted times of decays within a scan, by inverting their cumulative distribution."""
    rate = np.log(2.0) / half_life_s
    share = np.sort(rng.random(count)) * -np.expm1(-rate * seconds)
    times = -np.log1p(-share) / rate * MS_PER_S
    return np.asarray(np.minimum(times, np.nextafter(seconds * MS_PER_S, 0.0)), dtype=np.uint32)
