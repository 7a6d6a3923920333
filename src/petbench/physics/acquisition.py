"""A measured or simulated scan on disk: what a reconstruction at any dose needs, as an HDF5 file (docs/acquisition.md)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.files import atomic
from petbench.physics.doses import DRAWS, Dose, check_settings, is_amount
from petbench.physics.events import Events, Sinogram, check_events
from petbench.physics.isotopes import isotope
from petbench.physics.planes import planes_of
from petbench.physics.scanner import Scanner

Array = NDArray[np.float32]

FORMAT, VERSION = "petbench acquisition", 1
LIBRARY = ("v110", "v110")  # whose files have checksums of attributes and structure too; damage to others can crash HDF5
CHECKED = {"chunks": True, "fletcher32": True}
COMPRESSED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}  # sinograms only: events in random order hardly shrink
BINNED = {"prompts": np.uint32, "background": np.float32}
LISTED = {"radial": np.uint16, "view": np.uint16, "plane": np.uint32, "tof": np.uint16, "time_ms": np.uint32, "background": np.float32}
TYPES = {"factors": np.float32, **BINNED, **{f"events/{name}": kind for name, kind in LISTED.items()}}
LINES = "lines"
ATTRIBUTES = {"scanner": str, "geometry": str, "tof": bool, "isotope": str, "counts": int, "scale": float, "metadata": str}
EXPECTED = {"trues", "scatter", "randoms"}


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
        InputError: the parts do not fit each other, the scanner or the format.
    """
    import h5py

    _check(acquisition, scanner, str(path))
    try:
        metadata = json.dumps(acquisition.metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: metadata is not what JSON can hold ({error}); use finite numbers, text, lists and tables.") from None
    with atomic(path) as temporary, h5py.File(temporary, "w", libver=LIBRARY) as file:
        texts = {"format": FORMAT, "scanner": scanner.name, "geometry": acquisition.geometry, "isotope": acquisition.isotope}
        for name, text in (texts | {LINES: json.dumps(scanner.lines), "metadata": metadata}).items():
            encoded = text.encode()  # of fixed length, as the checksums leave out texts of any length
            file.attrs.create(name, encoded, dtype=h5py.string_dtype("utf-8", max(1, len(encoded))))
        numbers = {"version": VERSION, "tof": acquisition.tof, "counts": acquisition.data.counts, "scale": acquisition.scale}
        file.attrs.update(numbers if acquisition.seconds is None else numbers | {"seconds": acquisition.seconds})
        for name, array in _arrays(acquisition).items():
            stored, filters = (array, {}) if name.startswith("events/") else (array.swapaxes(0, 1), COMPRESSED)
            _write(file, name, stored.astype(TYPES[name], copy=False), **filters)


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
        _check(acquisition, scanner, str(path))
    except InputError:
        raise
    # h5py raises them all for a broken file, and NumPy and json some for what it holds
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError, MemoryError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: cannot be read as an acquisition ({reason}); it is cut short or damaged, simulate it again.") from None
    return acquisition


def _read(file: Any, path: str, scanner: Scanner) -> Acquisition:
    if _text(file.attrs.get("format")) != FORMAT:
        raise InputError(f"{path}: is HDF5 but no petbench acquisition; write it with petbench.physics.acquisition.")
    if file.attrs.get("version") != VERSION:
        raise InputError(f"{path}: has version {file.attrs.get('version')} of the format, not {VERSION}; simulate it again.")
    attributes = {name: _attribute(file, name, kind, path) for name, kind in ATTRIBUTES.items()}
    if LINES in file.attrs:
        check_lines(json.loads(_attribute(file, LINES, str, path)), attributes["scanner"], scanner, path)
    elif attributes["scanner"] != scanner.name:
        raise InputError(f"{path}: comes from {attributes['scanner']}, not from {scanner.name}; read it with its own scanner entry.")
    data: Sinogram | Events
    if "events" in file:
        names = [name for name in LISTED if name != "tof" or attributes["tof"]]
        parts: dict[str, Any] = {name: _part(file, f"events/{name}", path) for name in names}
        data = Events(**{"tof": None} | parts)
    else:
        data = Sinogram(*(_part(file, name, path).swapaxes(0, 1) for name in BINNED))
    if data.counts != attributes["counts"]:
        raise InputError(f"{path}: holds {data.counts} counts and says {attributes['counts']}; it is damaged, simulate it again.")
    return Acquisition(
        data,
        _part(file, "factors", path).swapaxes(0, 1),
        attributes["scale"],
        attributes["geometry"],
        attributes["isotope"],
        _attribute(file, "seconds", float, path) if "seconds" in file.attrs else None,
        json.loads(attributes["metadata"]),
    )


def check_lines(lines: Mapping[str, Any], name: str, scanner: Scanner, path: str) -> None:
    """Check that a file's lines run as a scanner's do; names and image grids may differ.

    Raises:
        InputError: they do not.
    """
    for key, own in scanner.lines.items():
        found = lines.get(key)
        same = np.isclose(found, own, rtol=1e-6) if isinstance(own, float) and isinstance(found, float) else found == own
        if not same:
            raise InputError(
                f"{path}: comes from {name}, whose {key} is {found}, and {scanner.name} has {own}; read it with its own scanner entry."
            )


def _text(value: Any) -> Any:
    """An attribute's value, decoded if it is text of fixed length, as other programs write it."""
    return value.decode() if isinstance(value, bytes) else value


def _attribute(file: Any, name: str, kind: type, path: str) -> Any:
    """One attribute of a file, text or a single number."""
    if name not in file.attrs:
        raise InputError(f"{path}: lacks the attribute {name}; simulate it again.")
    value = _text(file.attrs[name])
    if not isinstance(value, str if kind is str else Real | np.bool_):
        raise InputError(f"{path}: the attribute {name} is no {'text' if kind is str else 'number'}; simulate it again.")
    return kind(value)


def _part(file: Any, name: str, path: str) -> NDArray[Any]:
    """One data set of a file; its numbers must fit the documented type."""
    import h5py

    if not isinstance(part := file.get(name), h5py.Dataset):
        raise InputError(f"{path}: lacks {name}; simulate it again.")
    _check_type(part.dtype, name, path)
    return np.asarray(part[()], dtype=TYPES[name])


def _check_type(found: np.dtype[Any], name: str, path: str) -> None:
    if not np.can_cast(found, TYPES[name], "safe"):
        raise InputError(f"{path}: {name} holds {found}, not {np.dtype(TYPES[name])}; convert it.")


def _arrays(acquisition: Acquisition) -> dict[str, NDArray[Any]]:
    """Every array by its name in the file; sinograms as they are in memory."""
    prefix = "" if isinstance(acquisition.data, Sinogram) else "events/"
    parts = {f"{prefix}{name}": array for name, array in vars(acquisition.data).items() if array is not None}
    return {"factors": acquisition.factors} | parts


def _write(file: Any, name: str, values: NDArray[np.generic], **filters: Any) -> None:
    """Store an array in chunks with checksums; HDF5 cannot divide an empty one into chunks."""
    file.create_dataset(name, data=np.ascontiguousarray(values), **(CHECKED | filters if values.size else {}))


def _check(acquisition: Acquisition, scanner: Scanner, path: str) -> None:
    """Check the arrays against each other, the scanner and the format, and what goes with them."""
    for name, array in _arrays(acquisition).items():
        _check_type(array.dtype, name, path)
    if acquisition.seconds is not None and not 0 < acquisition.seconds < np.inf:
        raise InputError(f"{path}: the duration {acquisition.seconds} s is not a positive number; give it, or leave it out.")
    try:
        isotope(acquisition.isotope)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    _check_metadata(acquisition.metadata, path)
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
        check_events(acquisition.data, bins, acquisition.seconds, path)
    parts = {"factors": acquisition.factors, "background": acquisition.data.background}
    for name, values in parts.items():
        if values.size and not (np.isfinite(values.sum(dtype=np.float64)) and values.min() >= 0):
            raise InputError(f"{path}: {name} holds values that are negative or not finite; simulate it again.")
    if not (np.isfinite(acquisition.scale) and acquisition.scale > 0):
        raise InputError(f"{path}: the scale {acquisition.scale} is not a positive number; simulate it again.")


def _check_metadata(metadata: Any, path: str) -> None:
    """Check the parts of the metadata that reconstructions and sidecars take up."""
    if not isinstance(metadata, dict):
        raise InputError(f"{path}: metadata is no table; write {{}} where nothing is known.")
    for name in ("simulation", "dose", "expected"):
        if not isinstance(metadata.get(name, {}), dict):
            raise InputError(f"{path}: metadata/{name} is no table; leave it out where it is not known.")
    try:
        check_settings(metadata.get("simulation", {}))
    except InputError as error:
        raise InputError(f"{path}: metadata/{error}") from None
    dose, expected = metadata.get("dose"), metadata.get("expected")
    if dose and not (dose.keys() == {key.name for key in fields(Dose)} and dose["draw"] in DRAWS):
        raise InputError(f"{path}: metadata/dose is not that of a simulated scan; leave it out.")
    if expected and not (expected.keys() == EXPECTED and all(map(is_amount, expected.values()))):
        raise InputError(f"{path}: metadata/expected is not three numbers from zero, trues, scatter and randoms; leave it out.")


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
