"""One subject's DICOM folder into PET-BIDS: geometry by dcm2niix, values, dose, weight and clocks by pydicom, and nobody's name.

Nothing of a header is copied but numbers, the scanner's name, and the tracer's if it is a known one; clocks become seconds from the start
of the scan.
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
LEAST_DOSE_BQ = 1e5
PERSONAL = ("PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "InstitutionName", "StationName")
TRACERS = {"fluorodeoxyglucose": "FDG", "fludeoxyglucose": "FDG", "fdg": "FDG", "florbetapir": "florbetapir", "florbetaben": "florbetaben"}
TRACERS |= {"flutemetamol": "flutemetamol", "flortaucipir": "flortaucipir", "psma": "PSMA", "dotatate": "DOTATATE", "dotatoc": "DOTATOC"}
TRACERS |= {"dopa": "FDOPA", "flt": "FLT", "choline": "choline", "rubidium": "Rb", "water": "water", "ammonia": "ammonia", "pib": "PiB"}
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
    asked = {"pet": chosen(series, "PT", pet_series, folder), "T1w": chosen(series, "MR", mr_series, folder)}
    read = {kind: _read(one, kind) for kind, one in asked.items()}  # both, before anything is written
    written = {}
    for kind, (data, affine, sidecar) in read.items():
        name = "_".join([f"sub-{subject}", *(f"{key}-{labels[key]}" for key in ENTITIES[kind] if key in labels), kind])
        session = [f"ses-{labels['ses']}"] if "ses" in labels else []
        path = Path(bids, f"sub-{subject}", *session, FOLDERS[kind], f"{name}.nii.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_volume(path, data, like=volume(data, affine))
        write_json(sidecar_path(path), sidecar)
        written[kind] = path
    description = Path(bids, "dataset_description.json")
    if not description.exists():
        write_json(description, {"Name": "Scans", "BIDSVersion": "1.11.0", "DatasetType": "raw", "License": "n/a", "Authors": ["n/a"]})
        Path(bids, "README.md").write_text(README)
    return written


def _read(series: Series, kind: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], dict[str, Any]]:
    """Values, affine and sidecar of a series.

    Raises:
        InputError: see `import_subject`; or a header lacks what it takes.
    """
    try:
        sidecar = _pet_sidecar(series) if kind == "pet" else _mr_sidecar(series)
        data, affine = _converted(series, float(sidecar.pop("ValueFactor", 1.0)))
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # pydicom's, of tags that are not there or hold something else
        reason = " ".join(str(error).split())[:100]
        raise InputError(
            f"series {series.number}: its headers lack something or hold no number ({reason}); give slices of one frame each."
        ) from None
    return data, affine, sidecar


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
    return {name: _device(header, tag) for name, tag in fields.items() if header.get(tag)}


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
        "Manufacturer": _device(first, "Manufacturer"),
        "ManufacturersModelName": _device(first, "ManufacturerModelName"),
        "TracerName": _tracer(information.get("Radiopharmaceutical")),
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
        "AttenuationCorrection": "n/a",
        "ReconMethodName": "n/a",
        "ReconMethodParameterLabels": ["none"],
        "ReconMethodParameterUnits": ["none"],
        "ReconMethodParameterValues": [0],
        "ReconFilterType": "none",
        "ReconFilterSize": 0,
    }
    dose, weight = (_positive(value) for value in (information.get("RadionuclideTotalDose"), first.get("PatientWeight")))
    if len({str(one.get("PatientWeight")) for one in headers}) > 1:
        raise InputError(f"{where}: its slices tell of several weights; mend the headers.")
    if dose and dose > LEAST_DOSE_BQ:  # less is in another unit, and which cannot be told
        sidecar |= {"InjectedRadioactivity": dose / 1e6, "InjectedRadioactivityUnits": "MBq"}
    else:
        sidecar |= {"InjectedRadioactivity": "n/a", "InjectedRadioactivityUnits": "n/a"}
    if weight:
        sidecar["PatientWeight"] = weight
    sidecar |= _clocks(headers, information, name, duration, where, len(times))
    units = str(first.get("Units", ""))
    if units == "BQML":
        sidecar["Units"] = "Bq/mL"
    elif units == "GML" and str(first.get("SUVType") or "BW") == "BW":
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
    injected = _injection(information, first, start, where)
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
        apart, begins_there = abs(told - own) > max(CLOCKS_S, 0.02 * duration), abs(told) <= max(CLOCKS_S, 0.02 * duration)
        trusted = begins_there and "SIEMENS" in str(first.get("Manufacturer", "")).upper()  # whose acquisition times are known to be off
        if apart and not trusted:
            raise InputError(
                f"{where}: decay factors say that the frame began {told:.0f} s after the time that decay is corrected to, its clocks say"
                f" {own:.0f} s; which is right cannot be told, mend the headers."
            )
    return {"InjectionStart": -waited, "ImageDecayCorrectionTime": -waited if correction == "ADMIN" else 0}


def _injection(information: Any, header: Any, start: datetime | None, where: str) -> datetime | None:
    told = information.get("RadiopharmaceuticalStartDateTime")
    whole = _parsed(str(told)) if told else None
    clock, day = information.get("RadiopharmaceuticalStartTime"), header.get("SeriesDate")
    moment = _parsed(f"{day}{clock}") if clock and day else None
    if moment is not None and start is not None and moment > start + timedelta(hours=12):
        moment -= timedelta(days=1)  # over midnight
    if whole is not None and moment is not None and abs((whole - moment).total_seconds()) > CLOCKS_S:
        raise InputError(f"{where}: its two times of injection disagree; mend the headers.")
    return whole or moment


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
    for text in [str(code.get("CodeMeaning", "")) for code in codes]:
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


def _device(header: Any, tag: str) -> str:
    """Name of a maker or model, plain; n/a where there is none, or where it tells what the tags of a person do, or a date."""
    text = WORDS.sub("", str(header.get(tag) or "")).strip()[:64]
    told = " ".join(str(element.value) for element in header if element.VR in ("PN", "DA") or element.keyword in PERSONAL)
    tells = any(part in text.upper() for part in re.findall(r"[A-Z0-9]{3,}", told.upper()))
    return "n/a" if not text or tells or re.search(r"\d{6}", text) else text


def _tracer(value: Any) -> str:
    """A tracer by the name of `TRACERS` that its own contains; n/a for any other, which may hold anything."""
    plain = re.sub(r"[^a-z0-9]", "", str(value or "").casefold())
    return next((name for part, name in TRACERS.items() if part in plain), "n/a")
