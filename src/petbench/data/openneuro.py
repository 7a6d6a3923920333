"""Dynamic PET and MR of an OpenNeuro data set: which files there are, where they come from, and what of their sidecars can be trusted.

A manifest, a table of ours in resources/openneuro, names each file with its size, its MD5 and the data set's version.
"""

import csv
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from petbench.data.bids import ENTITIES, FOLDERS, entities, unit
from petbench.data.fetch import fetch
from petbench.errors import InputError
from petbench.files import read_json, write_json

ROOT = Path(__file__).parents[3]
URL = "https://s3.amazonaws.com/openneuro.org"
COLUMNS = ("path", "size", "md5", "version")
MBQ = {"bq": 1e-6, "kbq": 1e-3, "mbq": 1.0}


class Remote(NamedTuple):
    """A file of a data set: its path there, and size (bytes) and MD5, each None if it is not known."""

    path: str
    size: int | None
    md5: str | None


def read_manifest(manifest: str | Path) -> dict[str, Remote]:
    """The files that a manifest names, by path; a relative manifest lies below the project.

    Raises:
        InputError: it cannot be read, lacks a column, or a row makes no sense.
    """
    manifest = ROOT / manifest
    try:
        rows = list(csv.DictReader(manifest.read_text(encoding="utf-8").splitlines(), delimiter="\t", restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{manifest}: cannot be read ({error}); write it with resources/openneuro/list_files.py.") from None
    if not rows or any(name not in rows[0] for name in COLUMNS):
        raise InputError(f"{manifest}: has no rows with the columns {', '.join(COLUMNS)}; write it with resources/openneuro/list_files.py.")
    files = {}
    for row in rows:
        known = {key: None if row[key] == "n/a" else row[key] for key in ("size", "md5")}
        size, md5 = known["size"], known["md5"]
        sound = re.fullmatch(r"(?:[\w-]+/)+[\w.-]+", row["path"]) and (size is None or size.isdigit())
        if not sound or not (md5 is None or re.fullmatch("[0-9a-f]{32}", md5)) or row["path"] in files:
            raise InputError(f"{manifest}: {row['path'][:80]!r}: is listed twice, or path, size or md5 is none; mend the row.")
        files[row["path"]] = Remote(row["path"], int(size) if size is not None else None, md5)
    return files


def image_of(block: Mapping[str, Any], subject: str, kind: str) -> str:
    """Path in the data set of a subject's dynamic PET image (`pet`) or its MR (`T1w`).

    Args:
        block: The block `openneuro` of a data set entry: `manifest`, and by `pet` the labels of the PET image.
        subject: Its label.
        kind: `pet` or `T1w`.

    Raises:
        InputError: the manifest has none, or more than one.
    """
    wanted = block.get("pet", {}) if kind == "pet" else {}
    begin, end = f"sub-{subject}/{FOLDERS[kind]}/", f"_{kind}.nii.gz"
    found = [path for path in read_manifest(block["manifest"]) if path.startswith(begin) and path.endswith(end)]
    found = [path for path in found if wanted.items() <= entities(path).items()]
    if len(found) != 1:
        listed = f"{len(found)} {kind} images of sub-{subject}"
        by = f"say which by openneuro/pet ({', '.join(ENTITIES['pet'])})" if found else "choose other subjects"
        raise InputError(f"{block['manifest']}: has {listed}, and one is needed; {by}.")
    return found[0]


def fetch_file(remote: Remote, accession: str, path: str | Path, url: str = URL, **how: Any) -> None:
    """Download a file to `path`, unless it is there and whole; a checksum that is not known is recorded then and held to later.

    Args:
        remote: The file.
        accession: The data set, as `ds002898`.
        path: Where to; its record is `<path>.sha256.json`, where no MD5 is known.
        url: The public bucket or a mirror.
        how: Passed to `petbench.data.fetch.fetch`.

    Raises:
        InputError: it cannot be downloaded, or is not what the manifest or the record says.
    """
    path = Path(path)
    record = path.with_name(path.name + ".sha256.json")
    known = read_json(record)["sha256"] if remote.md5 is None and record.exists() else None

    def problem(file: Path) -> str | None:
        if remote.md5 is None:
            return None
        with open(file, "rb") as opened:
            found = hashlib.file_digest(opened, "md5").hexdigest()
        return (
            None if found == remote.md5 else f"its MD5 is {found}, and the manifest says {remote.md5}; the data set may have a new version"
        )

    found = fetch(f"{url}/{accession}/{remote.path}", path, size=remote.size, sha256=known, problem=problem, **how)
    if remote.md5 is None and known is None:
        write_json(record, {"sha256": found})


def trusted(sidecar: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What the sidecar of a Monash image says that can be trusted, in BIDS's keys, and the fields that were not taken.

    Curated fields (TimeZero, InjectedRadioactivity) of ds002898 are those of other subjects; what the scanner wrote into DICOM
    (AcquisitionTime, RadionuclideTotalDose in Bq) fits the times of the MR and is taken where it is there.

    Returns:
        Activity in MBq, clock time of the image's start, unit, tracer, scanner; and the curated fields that contradict it.
    """
    told: dict[str, Any] = {"TracerName": "FDG", "TracerRadionuclide": "F18"}
    told |= {key: sidecar[key] for key in ("Manufacturer", "ManufacturersModelName", "ModeOfAdministration") if sidecar.get(key)}
    wrong = []
    curated = _mbq(sidecar)
    if _positive(sidecar.get("RadionuclideTotalDose")):
        activity = sidecar["RadionuclideTotalDose"] * 1e-6
        wrong += ["InjectedRadioactivity"] if curated is not None and abs(curated - activity) > 1 else []
    else:
        activity = curated
    if activity is not None:
        told |= {"InjectedRadioactivity": round(activity, 3), "InjectedRadioactivityUnits": "MBq"}
    start, curated_start = _seconds(sidecar.get("AcquisitionTime")), _seconds(sidecar.get("TimeZero"))
    if start is not None:
        told["TimeZero"] = f"{start // 3600:02d}:{start // 60 % 60:02d}:{start % 60:02d}"
        offset = sidecar["ScanStart"] if _positive(sidecar.get("ScanStart")) else 0
        wrong += ["TimeZero"] if curated_start is not None and abs(curated_start + offset - start) > 2 else []
    spelled = str(sidecar.get("Units", sidecar.get("Unit", "")))
    if spelled:
        told["Units"] = "Bq/mL" if unit(spelled) in ("bqml", "bqcc") else spelled
    return told, wrong


def _mbq(sidecar: Mapping[str, Any]) -> float | None:
    """The curated activity; a number, or one in quotes, in a unit of BIDS's key or of its draft's."""
    try:
        value = float(sidecar["InjectedRadioactivity"])
    except (KeyError, TypeError, ValueError):
        return None
    factor = MBQ.get(unit(sidecar.get("InjectedRadioactivityUnits", sidecar.get("InjectedRadioactivityUnit", ""))))
    return value * factor if factor and _positive(value) else None


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _seconds(clock: Any) -> int | None:
    """Seconds since midnight of `12:59:4.000000` or `105057.000000`."""
    found = re.fullmatch(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.\d*)?|(\d\d)(\d\d)(\d\d)(?:\.\d*)?", str(clock))
    if not found:
        return None
    hours, minutes, seconds = (int(part) for part in found.groups() if part is not None)
    return hours * 3600 + minutes * 60 + seconds
