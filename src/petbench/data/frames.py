"""Low doses of a dynamic PET image: means of its frames, read in one pass, a frame at a time.

A mean of reconstructed frames is not the reconstruction of their summed events: OSEM is not linear, and short frames are biased.
"""

import gzip
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from numpy.typing import NDArray

from petbench.data.bids import read_sidecar
from petbench.data.nifti import Image, volume, write_volume
from petbench.data.openneuro import trusted
from petbench.errors import InputError
from petbench.files import write_json

DAY_S = 86400
SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "min": 60.0, "minutes": 60.0}
ROUNDING_S = 0.5


class Window(NamedTuple):
    """Frames that make one image: the first and the number of them, and when they begin and how long they last in s."""

    first: int
    number: int
    start_s: float
    seconds: float


def frame_times(sidecar: Mapping[str, Any], count: int, where: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Start and duration in s of each of the frames of an image, as its sidecar says.

    Lists may be longer or shorter than the image where all frames last as long and follow each other: there the image says how many there
    are, each run of a scan that is described as a whole among them. Starts before midnight of a day that is taken for the scan's own
    (86399) are negative. Units spelled in the keys of BIDS's draft (`FrameDurationUnit`) are read.

    Args:
        sidecar: What is said of the image.
        count: Frames of the image (its fourth axis).
        where: Names the image in errors.

    Raises:
        InputError: durations are missing, no numbers or not positive, or the lists are not as long as the image is and frames are uneven.
    """
    durations = _list(sidecar, "FrameDuration", count, where)
    if (durations <= 0).any():
        raise InputError(f"{where}: FrameDuration: a frame lasts {durations.min():g} s; mend the sidecar.")
    if "FrameTimesStart" in sidecar:
        starts = _list(sidecar, "FrameTimesStart", count, where)
        starts = np.where(starts > DAY_S / 2, starts - DAY_S, starts)
    else:
        starts = np.concatenate([[0.0], np.cumsum(durations)[:-1]])
    if len(starts) == len(durations) == count:
        return starts, durations
    even = np.ptp(durations) < ROUNDING_S and bool((np.abs(np.diff(starts) - durations[0]) < ROUNDING_S).all())
    if not even:
        raise InputError(
            f"{where}: has {count} frames, its sidecar {len(starts)} FrameTimesStart and {len(durations)} FrameDuration, and they are"
            " uneven, so that none can be told apart; leave the subject out."
        )
    return starts[0] + durations[0] * np.arange(count), np.full(count, durations[0])


def _list(sidecar: Mapping[str, Any], key: str, count: int, where: str) -> NDArray[np.float64]:
    told = sidecar.get(key)
    told = [told] * count if isinstance(told, int | float) and not isinstance(told, bool) else told
    try:
        values = np.array(told, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.array([np.nan])
    unit = str(sidecar.get(f"{key}Unit", sidecar.get(f"{key}Units", "s"))).strip().casefold()
    if values.ndim != 1 or not values.size or not np.isfinite(values).all() or unit not in SECONDS:
        raise InputError(f"{where}: {key}: is no list of numbers in seconds (unit {unit!r}); mend the sidecar, or leave the subject out.")
    return values * SECONDS[unit]


def window(starts: NDArray[np.float64], durations: NDArray[np.float64], from_s: float, seconds: float, where: str) -> Window:
    """The fewest frames in a row, the first of them that begins at `from_s` or later, that last `seconds` or longer.

    Raises:
        InputError: the image ends before, or there is a gap between two of them.
    """
    later = np.flatnonzero(starts >= from_s - ROUNDING_S)
    first = int(later[0]) if later.size else len(starts)
    count = int(np.searchsorted(np.cumsum(durations[first:]), seconds - ROUNDING_S)) + 1
    if first + count > len(starts):
        raise InputError(
            f"{where}: its {len(starts)} frames end {starts[-1] + durations[-1]:g} s after its start, and {seconds:g} s from second"
            f" {from_s:g} on are asked for; ask for fewer, or leave the subject out."
        )
    chosen = slice(first, first + count)
    gaps = np.abs(starts[chosen][1:] - starts[chosen][:-1] - durations[chosen][:-1]) > ROUNDING_S
    if gaps.any():
        place = first + int(np.flatnonzero(gaps)[0])
        raise InputError(
            f"{where}: frames {place} and {place + 1} (from 0) do not follow each other; choose others, or leave the subject out."
        )
    return Window(first, count, float(starts[first]), float(durations[chosen].sum()))


def average_frames(
    path: str | Path, windows: Mapping[str, tuple[float, float]], sidecar: Mapping[str, Any]
) -> dict[str, tuple[Image, Window]]:
    """Means of frames, weighted by their durations, of one dynamic image; it is read once, to the last frame that is needed.

    Args:
        path: NIfTI of four axes, compressed or not, whatever its name says.
        windows: By name, from which second on and how many seconds; see `window`.
        sidecar: What is said of the image.

    Returns:
        By name, the mean (float32, in the image's units) and the frames it is of.

    Raises:
        InputError: the image is none or cut short, holds values that are not finite, or its frames are not as asked for.
    """
    with open(path, "rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    with gzip.open(path) if zipped else open(path, "rb") as file:
        header = _header(file, path)
        shape = header.get_data_shape()
        starts, durations = frame_times(sidecar, shape[3], str(path))
        chosen = {name: window(starts, durations, *asked, str(path)) for name, asked in windows.items()}
        sums = {name: np.zeros(shape[:3]) for name in windows}
        last = max(one.first + one.number for one in chosen.values())
        for number, frame in enumerate(_frames(file, header, last, path)):
            for name, one in chosen.items():
                if one.first <= number < one.first + one.number:
                    sums[name] += durations[number] * frame
    like = volume(np.zeros(shape[:3], np.float32), header.get_best_affine())
    means = {name: (total / chosen[name].seconds).astype(np.float32) for name, total in sums.items()}
    if wrong := [name for name, mean in means.items() if not np.isfinite(mean).all()]:
        raise InputError(f"{path}: the frames of {wrong[0]} hold values that are NaN or infinite; leave the subject out.")
    return {name: (Image(mean, like.affine, like.header), chosen[name]) for name, mean in means.items()}


def write_mean(path: str | Path, image: str | Path, sidecar: str | Path, *, from_s: float, seconds: float, standard_s: float) -> None:
    """Write a dose of a dynamic image and what is known of it.

    Args:
        path: The dynamic image, beside its sidecar.
        image: NIfTI to write.
        sidecar: JSON to write.
        from_s: Second of the dynamic image from which on frames are taken.
        seconds: How many seconds of them.
        standard_s: How many the standard dose has.

    Raises:
        InputError: see `average_frames`.
    """
    told = read_sidecar(path)
    means = average_frames(path, {"dose": (from_s, seconds), "standard": (from_s, standard_s)}, told)
    (mean, frames), (_, standard) = means["dose"], means["standard"]
    content, wrong = trusted(told)
    if wrong:
        print(f"{path}: {' and '.join(wrong)} contradict what the scanner wrote, which is taken instead")
    content |= {
        "Description": "Mean of reconstructed frames, weighted by their durations; not the reconstruction of their summed events",
        "FramesAveraged": [frames.first, frames.first + frames.number - 1],
        "ScanStart": 0,
        "FrameTimesStart": [frames.start_s],
        "FrameDuration": [frames.seconds],
        "DoseFraction": frames.seconds / standard.seconds,
        "NotTaken": wrong,
    }
    write_volume(image, np.asarray(mean.dataobj), mean)
    write_json(sidecar, content)


def _header(file: Any, path: str | Path) -> Any:
    try:
        header = nibabel.Nifti1Header.from_fileobj(file)
        shape, offset = header.get_data_shape(), int(header["vox_offset"])
    except Exception as error:  # nibabel, gzip and zlib each raise their own kinds for a broken file
        raise InputError(f"{path}: cannot be read as NIfTI ({' '.join(str(error).split())[:120]}); fetch it again.") from None
    if len(shape) != 4 or 0 in shape or header.get_data_dtype().kind not in "iuf":
        raise InputError(
            f"{path}: has shape {shape} and voxels of type {header.get_data_dtype()}; a dynamic image has four axes of numbers."
        )
    if offset < header.sizeof_hdr:
        raise InputError(f"{path}: vox_offset is {offset}, inside the header; fetch it again.")
    file.seek(offset)  # nibabel reads extensions with the header
    return header


def _frames(file: Any, header: Any, last: int, path: str | Path) -> Iterator[NDArray[np.float64]]:
    """Frames from the first to before the last, scaled."""
    shape, kind = header.get_data_shape()[:3], header.get_data_dtype()
    slope, intercept = header.get_slope_inter()
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    size = int(np.prod(shape)) * kind.itemsize
    for number in range(last):
        try:
            content = file.read(size)
        except (OSError, EOFError) as error:
            raise InputError(f"{path}: breaks off in frame {number} ({error}); fetch it again.") from None
        if len(content) < size:
            raise InputError(f"{path}: breaks off in frame {number}; fetch it again.")
        yield np.frombuffer(content, dtype=kind).reshape(shape, order="F") * float(slope) + float(intercept)
