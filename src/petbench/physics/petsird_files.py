"""List mode in PETSIRD, the format that STIR, SIRF and PyTomography read too (ETSI: github.com/ETSInitiative/PETSIRD), in and out.

A PETSIRD file has detectors in space and pairs of them, event by event, in blocks of time. It has no attenuation and no scatter, and of
randoms delayed coincidences: what our own files hold beside the events stays there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.files import atomic
from petbench.physics.acquisition import Acquisition
from petbench.physics.events import Events, check_events
from petbench.physics.lines_to_bins import bins_of_lines
from petbench.physics.planes import planes_of, ring_differences
from petbench.physics.scanner import LIGHT_MM_PER_PS, Scanner

if TYPE_CHECKING:
    import petsird

BLOCK_MS = 100
"""Length of a block of time that is written; events within one have no order."""
CRYSTAL_MM = (20.0, 4.0, 4.0)
"""Depth, width and height of the elements that are written: they say where lines end, not what a crystal is like."""
NO_ELEMENT = "lines of uniform radial bins do not end at detectors; export scans of a scanner with radial: arc"


@dataclass(frozen=True, eq=False)
class Read:
    """What a PETSIRD file has of a scanner's bins.

    Attributes:
        events: Prompts, with no background.
        outside: Prompts of the file that no bin of the scanner has.
        model: The file's name of its scanner.
    """

    events: Events
    outside: int
    model: str


def write_petsird(path: str | Path, acquisition: Acquisition, scanner: Scanner) -> None:
    """Write a list-mode scan; a killed job leaves nothing half-written.

    Elements lie exactly where the lines of our bins end: twice as many round the ring as crystals, for neighbouring bins of a view end half
    a crystal apart. Which pairs of them are lines is told by the efficiencies, 1 or 0. A plane that combines pairs of rings is given the
    pair in its middle.

    Raises:
        InputError: the scan is no list mode, or the scanner's lines do not end on a regular ring.
    """
    import petsird

    if not isinstance(acquisition.data, Events):
        raise InputError(f"{path}: PETSIRD holds events, and this scan has counts by bin; make events of it first (events_from_sinogram).")
    ring = _Ring.of(scanner, acquisition.geometry, str(path))
    first, second, turned = ring.elements(acquisition.data)
    tof = np.zeros(first.size, dtype=np.uint32) if acquisition.data.tof is None else acquisition.data.tof.astype(np.uint32)
    if acquisition.data.tof is not None and scanner.tof is not None:  # our bins rise towards end 2, as (t1 - t2) c / 2 does
        tof = np.where(turned, scanner.tof.bins - 1 - tof, tof)
    header = petsird.Header(scanner=ring.information(acquisition.tof))
    with atomic(path) as part, petsird.BinaryPETSIRDWriter(str(part)) as writer:
        writer.write_header(header)
        writer.write_time_blocks(_blocks(first, second, tof, acquisition.data.time_ms))


def read_petsird(path: str | Path, scanner: Scanner, geometry: str, tof: bool = False) -> Read:
    """Read the prompts of a PETSIRD file into the bins of a scanner: each event goes to the nearest (`bins_of_lines`).

    An element is taken to detect in its middle. Events of a block of time have the block's start as their time.

    Args:
        path: The file, of any scanner whose detectors do not move.
        scanner: The geometry to read into; with `tof`, its bins of time of flight.
        geometry: `direct` or `oblique`.
        tof: Whether to keep time of flight.

    Raises:
        InputError: the file is missing, damaged or of another kind, holds moving detectors, or has no time of flight where it is wanted.
    """
    import petsird

    if not Path(path).exists():
        raise InputError(f"{path}: no such file; check the path.")
    if tof and scanner.tof is None:
        raise InputError(f"{path}: {scanner.name} has no time-of-flight bins to read into; add tof to its entry, or read without.")
    parts: list[tuple[NDArray[Any], ...]] = []
    try:
        with petsird.BinaryPETSIRDReader(str(path)) as reader:
            information = reader.read_header().scanner
            where = [_element_middles(modules) for modules in information.scanner_geometry.replicated_modules]
            for block in reader.read_time_blocks():
                if isinstance(block, petsird.TimeBlock.EventTimeBlock):
                    parts += _prompts(block.value, information, where, tof, str(path))
                elif isinstance(block, (petsird.TimeBlock.GantryMovementTimeBlock, petsird.TimeBlock.BedMovementTimeBlock)):
                    raise InputError(f"{path}: its detectors or bed move, which is not read; give a file of one position.")
    except InputError:
        raise
    except Exception as error:  # the package raises of any kind what it cannot make sense of
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: cannot be read as PETSIRD ({reason}); it is cut short, damaged or of another version.") from None
    ends = [np.concatenate([part[number] for part in parts]) if parts else np.zeros((0, 3)) for number in (0, 1)]
    time_ms, nearer = (np.concatenate([part[number] for part in parts]) if parts else np.zeros(0) for number in (2, 3))
    bins = bins_of_lines(scanner, geometry, *ends)
    inside = bins.inside
    tof_bin: NDArray[np.uint16] | None = None
    if tof and scanner.tof is not None:
        index = np.searchsorted(scanner.tof.edges_mm, np.where(bins.turned, -nearer, nearer), side="right") - 1
        inside = inside & (index >= 0) & (index < scanner.tof.bins)
        tof_bin = index[inside].astype(np.uint16)
    order = np.argsort(time_ms[inside], kind="stable")
    background = np.zeros(int(inside.sum()), dtype=np.float32)
    events = Events(
        bins.radial[inside], bins.view[inside], bins.plane[inside], tof_bin, time_ms[inside].astype(np.uint32), background
    ).chosen(order)
    shape = (scanner.radial_bins, scanner.views, planes_of(scanner, geometry).size)
    check_events(events, shape if scanner.tof is None or not tof else (*shape, scanner.tof.bins), None, str(path))
    return Read(events, int((~inside).sum()), information.model_name)


@dataclass(frozen=True, eq=False)
class _Ring:
    """Elements where a scanner's lines end.

    Attributes:
        scanner: The geometry, of arc bins.
        columns: Elements round the ring, twice as many as crystals.
        rings: Elements along the axis.
        low: Ring of end 1 of each plane.
        high: Ring of end 2.
    """

    scanner: Scanner
    columns: int
    rings: int
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    @classmethod
    def of(cls, scanner: Scanner, geometry: str, path: str) -> "_Ring":
        columns = 2 * scanner.crystals_per_ring
        if scanner.radial != "arc":
            raise InputError(f"{path}: {NO_ELEMENT}.")
        if columns % (2 * scanner.views) or columns % 4:
            raise InputError(f"{path}: {scanner.views} views of {scanner.crystals_per_ring} crystals a ring do not end at detectors.")
        planes = planes_of(scanner, geometry)
        rings = scanner.rings or (scanner.planes + 1) // 2
        total = np.rint(planes.middle_mm / scanner.plane_spacing_mm + (scanner.planes - 1) / 2).astype(np.int64)
        sizes = [segment.planes for segment in planes.segments]
        lowest, highest = (np.repeat(bounds, sizes) for bounds in zip(*ring_differences(scanner, geometry), strict=True))
        reach = np.minimum(total, 2 * (rings - 1) - total)  # ring numbers are whole, and there are so many
        apart = np.arange(min(lowest), max(highest) + 1)[:, None]
        there = (apart >= lowest) & (apart <= highest) & (abs(apart) <= reach) & ((total - apart) % 2 == 0)
        apart = apart[np.where(there, abs(apart - (lowest + highest) / 2), np.inf).argmin(axis=0), 0]
        return cls(scanner, columns, rings, (total - apart) // 2, (total + apart) // 2)

    def elements(self, events: Events) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Numbers of the two elements of each event, the greater first as PETSIRD wants it, and whether that turned the line round."""
        column_1, column_2 = self._columns(events.radial.astype(np.int64), events.view.astype(np.int64))
        ends = column_1 * self.rings + self.low[events.plane], column_2 * self.rings + self.high[events.plane]
        turned = ends[1] > ends[0]
        return np.maximum(*ends), np.minimum(*ends), turned

    def _columns(self, radial: NDArray[np.int64], view: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Columns of the ends of lines, from that at the angle of `_offset`; a line of view phi ends at phi -/+ acos(r / R)."""
        shift = view * (self.columns // (2 * self.scanner.views))
        from_first = radial - self.columns // 4
        return (shift + from_first) % self.columns, (shift - radial + self.scanner.radial_bins - 1 + self.columns // 4) % self.columns

    @property
    def _offset(self) -> float:
        """Angle of column 0, in columns: bins lie at half-integers where their number is even."""
        return -(self.scanner.radial_bins - 1) / 2

    def information(self, tof: bool) -> "petsird.ScannerInformation":
        """The scanner as PETSIRD describes it: a module a column, an element a ring."""
        import petsird
        from petsird.helpers.create import initialize_scanner_information_dimensions

        depth, width, height = CRYSTAL_MM
        corners = [
            petsird.Coordinate(c=np.array((x, y, z), dtype=np.float32))
            for x in (-depth / 2, depth / 2)
            for y, z in ((-width / 2, -height / 2), (-width / 2, height / 2), (width / 2, height / 2), (width / 2, -height / 2))
        ]
        crystal = petsird.BoxSolidVolume(shape=petsird.BoxShape(corners=corners), material_id=1)
        pitch = 2 * self.scanner.plane_spacing_mm
        heights = (np.arange(self.rings) - (self.scanner.planes - 1) / 4) * pitch
        column = petsird.ReplicatedBoxSolidVolume(object=crystal, transforms=[_moved(self.scanner.ring_radius_mm, z) for z in heights])
        angles = (np.arange(self.columns) + self._offset) * 2 * np.pi / self.columns
        modules = petsird.ReplicatedDetectorModule(
            object=petsird.DetectorModule(detecting_elements=column), transforms=[_turned(angle) for angle in angles]
        )
        found = petsird.ScannerInformation(
            model_name=self.scanner.name, scanner_geometry=petsird.ScannerGeometry(replicated_modules=[modules])
        )
        found.bulk_materials = [petsird.BulkMaterial(id=1, name="LSO")]
        found.collimator_type = "NONE"
        initialize_scanner_information_dimensions(found, 1, False, True)
        reach = 2 * self.scanner.ring_radius_mm
        timing = self.scanner.tof if tof else None
        edges = np.array([-reach, reach]) if timing is None else timing.edges_mm
        found.tof_bin_edges = [[petsird.BinEdges(edges=edges.astype(np.float32))]]
        found.tof_resolution = [[2 * reach if timing is None else timing.resolution_ps * LIGHT_MM_PER_PS / 2]]
        found.event_energy_bin_edges = [petsird.BinEdges(edges=np.array([430.0, 610.0], dtype=np.float32))]
        found.energy_resolution_at_511 = [0.1]
        found.prompt_event_policy = petsird.CoincidencePolicy.REJECT_HIGHER_MULTIPLES
        self._efficiencies(found)
        return found

    def _efficiencies(self, information: "petsird.ScannerInformation") -> None:
        """Pairs of columns that are lines of a bin, the first end's column the greater (group 0) or the smaller (group 1)."""
        import petsird

        radial, view = np.meshgrid(np.arange(self.scanner.radial_bins), np.arange(self.scanner.views), indexing="ij")
        one, two = (ends.ravel() for ends in self._columns(radial, view))
        group = np.full((self.columns, self.columns), -1, dtype=np.int64)
        group[np.maximum(one, two), np.minimum(one, two)] = (one < two).astype(np.int64)
        pairs = np.zeros((self.rings, self.rings))
        pairs[self.low, self.high] = 1
        efficiencies = information.detection_efficiencies
        efficiencies.detection_bin_efficiencies = [[1.0] * (self.columns * self.rings)]
        efficiencies.module_pair_sgidlut = [[[row[: number + 1].tolist() for number, row in enumerate(group)]]]
        efficiencies.module_pair_efficiencies_vectors = [
            [[petsird.ModulePairEfficiencies(values=values.tolist(), sgid=number) for number, values in enumerate((pairs, pairs.T))]]
        ]


def _blocks(
    first: NDArray[np.int64], second: NDArray[np.int64], tof: NDArray[Any], time_ms: NDArray[np.uint32]
) -> Iterator["petsird.TimeBlock"]:
    """Events in blocks of `BLOCK_MS`; empty blocks are left out."""
    import petsird

    block = time_ms // BLOCK_MS
    for start, stop in _runs(block):
        events = [
            petsird.CoincidenceEvent(detection_bins=[int(one), int(two)], tof_idx=int(at))
            for one, two, at in zip(first[start:stop], second[start:stop], tof[start:stop], strict=True)
        ]
        begin = int(block[start]) * BLOCK_MS
        interval = petsird.TimeInterval(start=begin, stop=begin + BLOCK_MS)
        yield petsird.TimeBlock.EventTimeBlock(petsird.EventTimeBlock(time_interval=interval, prompt_events=[[events]]))


def _runs(block: NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Where equal values begin and end."""
    starts = np.flatnonzero(np.diff(block, prepend=-1, append=-1))
    yield from zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)


def _prompts(
    block: "petsird.EventTimeBlock", information: "petsird.ScannerInformation", where: list[NDArray[np.float64]], tof: bool, path: str
) -> Iterator[tuple[NDArray[Any], ...]]:
    """Ends 1 and 2 (events, 3) in mm, times in ms, and mm from the middle towards end 2, of a block's prompts by kinds of module."""
    for kind_1, row in enumerate(block.prompt_events):
        for kind_2, events in enumerate(row):
            if not events:
                continue
            energies = [information.event_energy_bin_edges[kind].number_of_bins() for kind in (kind_1, kind_2)]
            ends = [
                where[kind][np.array([event.detection_bins[number] for event in events]) // energies[number]]
                for number, kind in enumerate((kind_1, kind_2))
            ]
            edges = np.asarray(information.tof_bin_edges[kind_1][kind_2].edges, dtype=np.float64)
            if tof and edges.size < 3:
                raise InputError(f"{path}: has no time of flight; read it without.")
            index = np.array([event.tof_idx for event in events])
            yield *ends, np.full(len(events), block.time_interval.start), (edges[index] + edges[index + 1]) / 2


def _element_middles(modules: "petsird.ReplicatedDetectorModule") -> NDArray[np.float64]:
    """Middles of all elements of one kind of module in mm, (modules x elements, 3), in the order in which events number them."""
    box = modules.object.detecting_elements
    middle = np.mean([corner.c for corner in box.object.shape.corners], axis=0, dtype=np.float64)
    inner, outer = (np.array([one.matrix for one in some], dtype=np.float64) for some in (box.transforms, modules.transforms))
    placed = inner[:, :, :3] @ middle + inner[:, :, 3]
    return np.asarray((np.einsum("mij,ej->mei", outer[:, :, :3], placed) + outer[:, None, :, 3]).reshape(-1, 3))


def _moved(x: float, z: float) -> "petsird.RigidTransformation":
    import petsird

    return petsird.RigidTransformation(matrix=np.array([[1, 0, 0, x], [0, 1, 0, 0], [0, 0, 1, z]], dtype=np.float32))


def _turned(angle: float) -> "petsird.RigidTransformation":
    import petsird

    cosine, sine = np.cos(angle), np.sin(angle)
    return petsird.RigidTransformation(matrix=np.array([[cosine, -sine, 0, 0], [sine, cosine, 0, 0], [0, 0, 1, 0]], dtype=np.float32))
