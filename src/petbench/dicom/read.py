"""One subject's DICOM folder into PET-BIDS: geometry by dcm2niix, values, dose, weight and clocks by pydicom, and nobody's name.

Nothing of a header is copied but numbers and the names of scanner, tracer and reconstruction; clocks become seconds from the start of the
scan.
"""

import math
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from petbench.data.bids import ENTITIES, FOLDERS, LABEL, sidecar_path
from petbench.data.nifti import read_volume, volume, write_volume
from petbench.errors import InputError
from petbench.files import write_json
from petbench.physics.isotopes import isotope

ISOTOPES = {"18": "F18", "68": "Ga68", "11": "C11", "13": "N13", "15": "O15", "82": "Rb82", "89": "Zr89", "64": "Cu64"}
"""By mass number, which every code of a radionuclide (`^18^Fluorine`, `F-18`) has."""
CLOCKS_S = 60.0
"""What decay factors and clocks may differ by."""
PHILIPS_BQ_ML = (0x7053, 0x1009)
GE_SCAN_START = (0x0009, 0x100D)
README = """# Scans

PET and T1-weighted MR that `petbench import` brought from DICOM. Geometry, values, units, dose, weight and the times between injection and
scan were kept; names, numbers, dates and clock times of the headers were not. Of a reconstruction's own settings DICOM says little: its
parameters and filter size are placeholders.
"""
WORDS = re.compile(r"[^A-Za-z0-9 .,+\-\[\]()/]")


@dataclass(frozen=True)
class Series:
    """The slices of one series, in no order."""

    uid: str
    modality: str
    number: int
    files: tuple[Path, ...]


def find_series(folder: str | Path) -> list[Series]:
    """Every PET and MR series below a folder, by number.

    Raises:
        InputError: there is no such folder, or no DICOM in it.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one that holds the DICOM files.")
    found: dict[str, list[Path]] = {}
    facts: dict[str, tuple[str, int]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "Modality", "SeriesNumber"])
        except (InvalidDicomError, OSError):
            continue
        if header.get("Modality") in ("PT", "MR"):
            uid = str(header.SeriesInstanceUID)
            found.setdefault(uid, []).append(path)
            facts[uid] = str(header.Modality), int(header.get("SeriesNumber") or 0)
    if not found:
        raise InputError(f"{folder}: holds no PET or MR in DICOM; give the folder of one subject's series.")
    return sorted((Series(uid, *facts[uid], tuple(files)) for uid, files in found.items()), key=lambda series: series.number)


def chosen(series: Sequence[Series], modality: str, number: int | None, folder: str | Path) -> Series:
    """The one series of a modality, or that of a number.

    Raises:
        InputError: there is none, or there are several and none was named.
    """
    fitting = [one for one in series if one.modality == modality and number in (None, one.number)]
    name = {"PT": "PET", "MR": "MR"}[modality]
    if not fitting:
        raise InputError(
            f"{folder}: has no {name} series{'' if number is None else f' of number {number}'}; mend the folder or the number."
        )
    if len(fitting) > 1:
        numbers = ", ".join(str(one.number) for one in fitting)
        raise InputError(f"{folder}: has {len(fitting)} {name} series, numbers {numbers}; say which by --{name.lower()}-series NUMBER.")
    return fitting[0]


def import_subject(
    folder: str | Path,
    bids: str | Path,
    subject: str,
    labels: dict[str, str] | None = None,
    pet_series: int | None = None,
    mr_series: int | None = None,
) -> dict[str, Path]:
    """Write one subject's PET and T1-weighted MR as PET-BIDS.

    Args:
        folder: The DICOM folder of one subject.
        bids: The data set; made if it is not there.
        subject: Label of the subject in it, which the DICOM does not give.
        labels: Further labels of the names, such as `{"ses": "02", "rec": "drf4"}`.
        pet_series: SeriesNumber of the PET, where there are several.
        mr_series: Of the MR.

    Returns:
        The images by kind, `pet` and `T1w`.

    Raises:
        InputError: a series is missing or ambiguous, is no single frame, its slices lack some, its values or clocks contradict each other,
            or a label is none.
    """
    labels = labels or {}
    for label in (subject, *labels.values()):
        if not re.fullmatch(LABEL, label):
            raise InputError(f"{label!r} is no label, which is letters and digits; give another.")
    series = find_series(folder)
    written = {}
    for kind, modality, number in (("pet", "PT", pet_series), ("T1w", "MR", mr_series)):
        one = chosen(series, modality, number, folder)
        name = "_".join([f"sub-{subject}", *(f"{key}-{labels[key]}" for key in ENTITIES[kind] if key in labels), kind])
        session = [f"ses-{labels['ses']}"] if "ses" in labels else []
        path = Path(bids, f"sub-{subject}", *session, FOLDERS[kind], f"{name}.nii.gz")
        sidecar = _pet_sidecar(one) if kind == "pet" else _mr_sidecar(one)
        data, affine = _converted(one, float(sidecar.pop("ValueFactor", 1.0)))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_volume(path, data, like=volume(data, affine))
        write_json(sidecar_path(path), sidecar)
        written[kind] = path
    description = Path(bids, "dataset_description.json")
    if not description.exists():
        write_json(description, {"Name": "Scans", "BIDSVersion": "1.11.0", "DatasetType": "raw", "License": "n/a", "Authors": ["n/a"]})
        Path(bids, "README.md").write_text(README)
    return written


def _converted(series: Series, factor: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Values and affine of a series as dcm2niix has them, held against each slice's own pixels and slope."""
    tool = shutil.which("dcm2niix") or _packaged()
    with tempfile.TemporaryDirectory(prefix="petbench-") as scratch:
        slices = Path(scratch, "in")
        slices.mkdir()
        for number, path in enumerate(series.files):
            shutil.copy(path, slices / f"{number:05d}.dcm")
        done = subprocess.run(
            [tool, "-z", "n", "-b", "n", "-f", "image", "-o", scratch, str(slices)], capture_output=True, text=True, check=False
        )
        images = sorted(Path(scratch).glob("image*.nii"))
        if done.returncode or len(images) != 1:
            raise InputError(
                f"series {series.number}: dcm2niix makes {len(images)} images of it; slices are missing or of several frames, or it is no"
                " volume."
            )
        image = read_volume(images[0])
        data, affine = np.asarray(image.dataobj, dtype=np.float32) * np.float32(factor), np.asarray(image.affine, dtype=np.float64)
    if series.modality == "PT":
        _check_values(series, data, affine, factor)
    return data, affine


def _packaged() -> str:
    try:
        import dcm2niix
    except ImportError:
        raise InputError("dcm2niix: is not installed; `pip install dcm2niix`, or install petbench[dicom].") from None
    return str(dcm2niix.bin)


def _check_values(series: Series, data: np.ndarray[Any, Any], affine: np.ndarray[Any, Any], factor: float) -> None:
    """That every slice has its own slope applied and its own place.

    Raises:
        InputError: some voxel differs by more than half a step of its slice's slope.
    """
    import pydicom

    to_voxel = np.linalg.inv(affine)
    for path in series.files:
        header = pydicom.dcmread(path)
        slope, own = float(header.RescaleSlope), header.pixel_array.astype(np.float64)
        column, row = (np.array(header.ImageOrientationPatient[part], dtype=np.float64) for part in (slice(0, 3), slice(3, 6)))
        origin = np.array(header.ImagePositionPatient, dtype=np.float64)
        spacing = [float(edge) for edge in header.PixelSpacing]
        rows, columns = own.shape
        i, j = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
        lps = origin[:, None, None] + column[:, None, None] * spacing[1] * j + row[:, None, None] * spacing[0] * i
        ras = lps * np.array([-1, -1, 1])[:, None, None]
        index = np.rint(np.tensordot(to_voxel[:3, :3], ras, axes=1) + to_voxel[:3, 3][:, None, None]).astype(int)
        if (index < 0).any() or (index >= np.array(data.shape)[:, None, None]).any():
            raise InputError(f"series {series.number}: a slice lies outside the image made of it; dcm2niix and the headers disagree.")
        wanted = (own * slope + float(header.get("RescaleIntercept", 0))) * factor
        if np.abs(data[tuple(index)] - wanted).max() > max(abs(slope * factor), 1e-6 * np.abs(wanted).max()):
            raise InputError(
                f"series {series.number}: values made of it are not its pixels times their slopes; its slices cannot be trusted."
            )


def _mr_sidecar(series: Series) -> dict[str, Any]:
    import pydicom

    header = pydicom.dcmread(series.files[0], stop_before_pixels=True)
    fields = {"Manufacturer": "Manufacturer", "ManufacturersModelName": "ManufacturerModelName"}
    return {name: _word(header.get(tag)) for name, tag in fields.items() if header.get(tag)}


def _pet_sidecar(series: Series) -> dict[str, Any]:
    """PET-BIDS fields of a static PET series.

    Raises:
        InputError: it is no single frame, or its clocks contradict each other.
    """
    import pydicom

    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in series.files]
    first = headers[0]
    where = f"series {series.number}"
    times = {(str(one.get("AcquisitionTime")), str(one.get("FrameReferenceTime"))) for one in headers}
    places = {tuple(map(float, one.ImagePositionPatient)) for one in headers}
    if len(places) != len(headers) or int(first.get("NumberOfTimeSlices") or 1) > 1:
        raise InputError(f"{where}: has several frames; give a static series, or average its frames first.")
    information = (first.get("RadiopharmaceuticalInformationSequence") or [pydicom.Dataset()])[0]
    name = _isotope(information)
    duration = float(first.get("ActualFrameDuration") or 0) / 1000
    sidecar: dict[str, Any] = {
        "Manufacturer": _word(first.get("Manufacturer")),
        "ManufacturersModelName": _word(first.get("ManufacturerModelName")),
        "TracerName": _word(information.get("Radiopharmaceutical")),
        "TracerRadionuclide": f"{isotope(name).mass_number}{name.rstrip('0123456789')}" if name else "n/a",
        "ModeOfAdministration": "bolus",
        "InjectedMass": "n/a",
        "InjectedMassUnits": "n/a",
        "SpecificRadioactivity": "n/a",
        "SpecificRadioactivityUnits": "n/a",
        "TimeZero": "00:00:00",
        "ScanStart": 0,
        "FrameTimesStart": [0],
        "FrameDuration": [duration or "n/a"],
        "AcquisitionMode": "list mode",
        "ImageDecayCorrected": str(first.get("DecayCorrection", "NONE")) in ("START", "ADMIN"),
        "AttenuationCorrection": _word(first.get("AttenuationCorrectionMethod")),
        "ReconMethodName": _word(first.get("ReconstructionMethod")),
        "ReconMethodParameterLabels": ["none"],
        "ReconMethodParameterUnits": ["none"],
        "ReconMethodParameterValues": [0],
        "ReconFilterType": _word(first.get("ConvolutionKernel")).replace("n/a", "none"),
        "ReconFilterSize": 0,
    }
    dose, weight = (_positive(value) for value in (information.get("RadionuclideTotalDose"), first.get("PatientWeight")))
    if dose:
        # GE writes MBq here now and then: nobody is given so few becquerel.
        sidecar |= {"InjectedRadioactivity": dose / 1e6 if dose > 1e5 else dose, "InjectedRadioactivityUnits": "MBq"}
    else:
        sidecar |= {"InjectedRadioactivity": "n/a", "InjectedRadioactivityUnits": "n/a"}
    if weight:
        sidecar["PatientWeight"] = weight
    sidecar |= _clocks(headers, information, name, duration, where, len(times))
    units = str(first.get("Units", ""))
    if units == "BQML":
        sidecar["Units"] = "Bq/mL"
    elif units == "GML":
        sidecar["Units"] = "g/mL"
    elif units == "CNTS" and (concentration := _positive(_private(first, PHILIPS_BQ_ML))):
        sidecar |= {"Units": "Bq/mL", "ValueFactor": concentration}
    else:
        sidecar["Units"] = "arbitrary"
    return sidecar


def _clocks(headers: Sequence[Any], information: Any, name: str | None, duration: float, where: str, moments: int) -> dict[str, Any]:
    """When decay was corrected to and when the tracer was injected, in seconds from the start of the scan.

    The start is the series' time, unless its slices were acquired before it (a later reconstruction): then it is the vendor's own start, or
    the earliest acquisition. What decay factors say must agree with it.

    Raises:
        InputError: clocks contradict each other.
    """
    first = headers[0]
    series, acquired = _moment(first, "Series"), min(filter(None, (_moment(one, "Acquisition") for one in headers)), default=None)
    start = series
    if series is None or (acquired is not None and series > acquired + timedelta(seconds=1)):
        private = _private(first, GE_SCAN_START)
        start = _parsed(str(private)) if private else acquired
    correction = str(first.get("DecayCorrection", "NONE"))
    injected = _injection(information, first, start)
    if start is None or injected is None:
        return {"InjectionStart": "n/a", "ImageDecayCorrectionTime": 0 if correction == "START" else "n/a"}
    waited = (start - injected).total_seconds()
    if not 0 <= waited <= 24 * 3600:
        raise InputError(f"{where}: the scan starts {waited:.0f} s after injection; its clocks disagree, mend them or remove them.")
    factor = _positive(first.get("DecayFactor"))
    if correction == "START" and name and factor and duration and moments == 1 and acquired is not None:
        rate = math.log(2) / isotope(name).half_life_s
        during = rate * duration / -math.expm1(-rate * duration)
        told = (math.log(factor) - math.log(during)) / rate
        own = (acquired - start).total_seconds()
        if abs(told - own) > max(CLOCKS_S, 0.02 * duration) and abs(told) > max(CLOCKS_S, 0.02 * duration):
            raise InputError(
                f"{where}: decay factors say that the frame began {told:.0f} s after the time that decay is corrected to, its clocks say"
                f" {own:.0f} s; which is right cannot be told, mend the headers."
            )
    return {"InjectionStart": -waited, "ImageDecayCorrectionTime": -waited if correction == "ADMIN" else 0}


def _injection(information: Any, header: Any, start: datetime | None) -> datetime | None:
    if told := information.get("RadiopharmaceuticalStartDateTime"):
        return _parsed(str(told))
    clock, day = information.get("RadiopharmaceuticalStartTime"), header.get("SeriesDate")
    moment = _parsed(f"{day}{clock}") if clock and day else None
    if moment is not None and start is not None and moment > start + timedelta(hours=12):
        moment -= timedelta(days=1)  # over midnight
    return moment


def _moment(header: Any, which: str) -> datetime | None:
    day, clock = header.get(f"{which}Date"), header.get(f"{which}Time")
    return _parsed(f"{day}{clock}") if day and clock else None


def _parsed(told: str) -> datetime | None:
    """`YYYYMMDDHHMMSS.ffffff`, with or without its fraction; a zone is left out, as all clocks of a scan have one."""
    found = re.match(r"(\d{14})(\.\d{1,6})?", told.replace(":", "").replace("-", "").replace(" ", ""))
    if not found:
        return None
    try:
        return datetime.strptime(found[1], "%Y%m%d%H%M%S") + timedelta(seconds=float(found[2] or 0))
    except ValueError:
        return None


def _isotope(information: Any) -> str | None:
    codes = information.get("RadionuclideCodeSequence") or []
    for text in [str(code.get("CodeMeaning", "")) for code in codes] + [str(information.get("Radiopharmaceutical", ""))]:
        if (found := re.search(r"\d{2}", text)) and found[0] in ISOTOPES:
            return ISOTOPES[found[0]]
    half_life = _positive(information.get("RadionuclideHalfLife"))
    near = [name for name in ISOTOPES.values() if half_life and abs(isotope(name).half_life_s / half_life - 1) < 0.02]
    return near[0] if near else None


def _private(header: Any, tag: tuple[int, int]) -> Any:
    element = header.get(tag)
    return None if element is None else element.value


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if number > 0 and math.isfinite(number) else None


def _word(value: Any) -> str:
    """A name of a thing, plain; n/a where there is none."""
    return WORDS.sub("", str(value)).strip()[:64] if value else "n/a"
