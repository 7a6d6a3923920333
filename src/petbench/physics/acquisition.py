"""A measured or simulated scan on disk: what a reconstruction at any dose needs, as an HDF5 file (docs/acquisition.md)."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.files import atomic
from petbench.physics.events import Events, Sinogram, check_events
from petbench.physics.planes import planes_of
from petbench.physics.scanner import Scanner

Array = NDArray[np.float32]

FORMAT, VERSION = "petbench acquisition", 1
CHECKED = {"chunks": True, "fletcher32": True}
COMPRESSED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}  # sinograms only: events in random order hardly shrink
TYPES = {"radial": np.uint16, "view": np.uint16, "plane": np.uint16, "tof": np.uint16, "time_ms": np.uint32, "background": np.float32}


@dataclass(frozen=True, eq=False)
class Acquisition:
    """One scan with its model.

    Attributes:
        data: Counts by bin or one by one, with their expected background.
        factors: What multiplies the trues of every line: attenuation factors, times ring pairs a plane in oblique geometry, times a
            count scale a plane where each plane has its own; shape (radial bins, views, planes), without time of flight.
        scale: Counts per Bq/ml cm.
        geometry: `direct` or `oblique`.
        isotope: What was injected.
        seconds: Duration, None where it is not known.
        metadata: How the data came about, such as seed, simulation, dose and expected totals; what JSON can hold.
    """

    data: Sinogram | Events
    factors: Array
    scale: float
    geometry: str
    isotope: str
    seconds: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def tof(self) -> bool:
        """Whether the data have time-of-flight bins."""
        return self.data.prompts.ndim == 4 if isinstance(self.data, Sinogram) else self.data.tof is not None


def write_acquisition(path: str | Path, acquisition: Acquisition, scanner: Scanner) -> None:
    """Write an acquisition; a killed job leaves nothing half-written.

    Raises:
        InputError: arrays do not fit each other or the scanner.
    """
    import h5py

    _check(acquisition, scanner, str(path))
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({"format": FORMAT, "version": VERSION, "scanner": scanner.name})
        file.attrs.update({name: getattr(acquisition, name) for name in ("geometry", "tof", "isotope", "scale")})
        file.attrs["counts"] = acquisition.data.counts
        file.attrs["metadata"] = json.dumps(acquisition.metadata, allow_nan=False)
        if acquisition.seconds is not None:
            file.attrs["seconds"] = acquisition.seconds
        _write(file, "factors", acquisition.factors.swapaxes(0, 1), **COMPRESSED)
        if isinstance(acquisition.data, Sinogram):
            _write(file, "prompts", acquisition.data.prompts.swapaxes(0, 1), **COMPRESSED)
            _write(file, "background", acquisition.data.background.swapaxes(0, 1), **COMPRESSED)
            return
        for name, kind in TYPES.items():
            if (values := getattr(acquisition.data, name)) is not None:
                _write(file, f"events/{name}", values.astype(kind, copy=False))


def read_acquisition(path: str | Path, scanner: Scanner) -> Acquisition:
    """Read what `write_acquisition` wrote and check it against the scanner.

    Raises:
        InputError: the file is missing, cut short, damaged, of another kind, lacks a part, or belongs to another geometry.
    """
    import h5py

    if not Path(path).exists():
        raise InputError(f"{path}: no such file; check the path.")
    try:
        with h5py.File(path, "r") as file:
            acquisition = _read(file, str(path), scanner)
    except InputError:
        raise
    except (OSError, ValueError, TypeError, RuntimeError) as error:  # h5py raises them all for a broken file
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: cannot be read as an acquisition ({reason}); it is cut short or damaged, simulate it again.") from None
    _check(acquisition, scanner, str(path))
    return acquisition


def _read(file: Any, path: str, scanner: Scanner) -> Acquisition:
    if _text(file.attrs.get("format")) != FORMAT:
        raise InputError(f"{path}: is HDF5 but no petbench acquisition; write it with petbench.physics.acquisition.")
    if file.attrs.get("version") != VERSION:
        raise InputError(f"{path}: has version {file.attrs.get('version')} of the format, not {VERSION}; simulate it again.")
    for name in ("scanner", "geometry", "tof", "isotope", "counts", "scale", "metadata"):
        if name not in file.attrs:
            raise InputError(f"{path}: lacks the attribute {name}; simulate it again.")
    attributes = {name: _text(value) for name, value in file.attrs.items()}
    if attributes["scanner"] != scanner.name:
        raise InputError(f"{path}: comes from {attributes['scanner']}, not from {scanner.name}; read it with its own scanner entry.")
    data: Sinogram | Events
    if "events" in file:
        names = [name for name in TYPES if name != "tof" or attributes["tof"]]
        parts: dict[str, Any] = {name: _part(file, f"events/{name}", path, TYPES[name]) for name in names}
        data = Events(**{"tof": None} | parts)
    else:
        prompts, background = (_part(file, name, path, kind) for name, kind in (("prompts", np.uint32), ("background", np.float32)))
        data = Sinogram(prompts.swapaxes(0, 1), background.swapaxes(0, 1))
    if data.counts != attributes["counts"]:
        raise InputError(f"{path}: holds {data.counts} counts and says {attributes['counts']}; it is damaged, simulate it again.")
    return Acquisition(
        data,
        _part(file, "factors", path, np.float32).swapaxes(0, 1),
        float(attributes["scale"]),
        attributes["geometry"],
        attributes["isotope"],
        float(attributes["seconds"]) if "seconds" in attributes else None,
        json.loads(attributes["metadata"]),
    )


def _text(value: Any) -> Any:
    """An attribute's value, decoded if it is text of fixed length, as other programs write it."""
    return value.decode() if isinstance(value, bytes) else value


def _part(file: Any, name: str, path: str, kind: Any) -> NDArray[Any]:
    """One data set of a file; its numbers must fit the documented type."""
    if name not in file:
        raise InputError(f"{path}: lacks {name}; simulate it again.")
    if not np.can_cast(file[name].dtype, kind, "safe"):
        raise InputError(f"{path}: {name} holds {file[name].dtype}, not {np.dtype(kind)}; convert it.")
    return np.asarray(file[name][()], dtype=kind)


def _write(file: Any, name: str, values: NDArray[np.generic], **filters: Any) -> None:
    """Store an array in chunks with checksums; HDF5 cannot divide an empty one into chunks."""
    file.create_dataset(name, data=np.ascontiguousarray(values), **(CHECKED | filters if values.size else {}))


def _check(acquisition: Acquisition, scanner: Scanner, path: str) -> None:
    """Check the arrays against each other and the scanner."""
    lines, bins = _shapes(acquisition, scanner, path)
    shapes = {"factors": (acquisition.factors.shape, lines)}
    if isinstance(acquisition.data, Sinogram):
        shapes |= {"prompts": (acquisition.data.prompts.shape, bins), "background": (acquisition.data.background.shape, bins)}
    for name, (shape, wanted) in shapes.items():
        if shape != wanted:
            raise InputError(
                f"{path}: {name} has shape {shape}, {acquisition.geometry} data of {scanner.name} {wanted};"
                " read it with its own scanner entry or simulate it again."
            )
    if isinstance(acquisition.data, Events):
        check_events(acquisition.data, bins, path)
    parts = {"factors": acquisition.factors, "background": acquisition.data.background}
    for name, values in parts.items():
        if values.size and not (np.isfinite(values.sum(dtype=np.float64)) and values.min() >= 0):
            raise InputError(f"{path}: {name} holds values that are negative or not finite; simulate it again.")
    if not (np.isfinite(acquisition.scale) and acquisition.scale > 0):
        raise InputError(f"{path}: the scale {acquisition.scale} is not a positive number; simulate it again.")


def _shapes(acquisition: Acquisition, scanner: Scanner, path: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes that the scanner gives factors, and prompts and background."""
    try:
        lines = (scanner.radial_bins, scanner.views, planes_of(scanner, acquisition.geometry).size)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if not acquisition.tof:
        return lines, lines
    if scanner.tof is None:
        raise InputError(f"{path}: has time-of-flight bins, and {scanner.name} none; read it with its own scanner entry.")
    return lines, (*lines, scanner.tof.bins)
