"""The Ultra-Low Dose PET Imaging Challenge: its layout read, and restored images scored as its page says (udpet-challenge.github.io).

Images are NIfTI in Bq/ml; a table gives weight, injected activity, the delay from injection to scan and the half-life; decay is corrected
to the start of the scan. Global: PSNR, SSIM and NRMSE. In regions (liver, kidney, heart): errors of SUVmean, SUVmax and TLM, in percent.
"""

import csv
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from petbench.data.nifti import read_volume, same_grid, voxel_mm
from petbench.errors import InputError
from petbench.evaluation.metrics import nmse, psnr, ssim
from petbench.evaluation.suv import suv_factor

COLUMNS = {"case": "name", "weight_kg": "weight_kg", "dose_bq": "dose_bq", "delay_s": "delay_s", "half_life_s": "half_life_s"}
"""Columns of the table; what the challenge's own are called is given in place of these."""
LOW_DOSE = re.compile(r"(?P<case>.+)_DRF-(?P<drf>4|10|20|50|100)\.nii\.gz")
LEFT_OUT = Path(__file__).parents[3] / "resources/udpet/left_out.tsv"


class Case(NamedTuple):
    """A person at one dose: the image's name, the dose reduction factor, and what SUV takes."""

    case: str
    drf: int
    file: Path
    weight_kg: float
    dose_bq: float

    @property
    def factor(self) -> float:
        """SUV over Bq/ml."""
        return suv_factor(self.weight_kg, self.dose_bq)


def left_out(path: str | Path = LEFT_OUT) -> dict[str, str]:
    """Why cases, or files without their ending, are left out, by name."""
    return {row["case"]: row["why"] for row in _rows(Path(path), ["case", "why"])}


def read_cases(folder: str | Path, table: str | Path, columns: Mapping[str, str] = COLUMNS, bad: str | Path = LEFT_OUT) -> list[Case]:
    """The low-dose images of a folder, `<case>_DRF-<factor>.nii.gz`, without those that are known to be bad.

    Args:
        folder: Where they lie.
        table: CSV with a row a case.
        columns: What the table calls each key of `COLUMNS`.
        bad: See `left_out`.

    Raises:
        InputError: there is none; the table lacks a column, a case or a number, or lists a case twice.
    """
    folder, table, out = Path(folder), Path(table), left_out(bad)
    people: dict[str, Mapping[str, str]] = {}
    for row in _rows(table, [columns[key] for key in COLUMNS]):
        if people.setdefault(row[columns["case"]], row) is not row:
            raise InputError(f"{table}: {row[columns['case']]!r} is listed twice; keep one row.")
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    named = [match for path in found if (match := LOW_DOSE.fullmatch(path.name))]
    cases = [match for match in named if match["case"] not in out and match.string.removesuffix(".nii.gz") not in out]
    if not cases:
        raise InputError(f"{folder}: has no image <case>_DRF-<4, 10, 20, 50 or 100>.nii.gz that is not left out; give the folder of them.")
    return [_case(match, people, table, columns, folder) for match in cases]


def _case(match: re.Match[str], people: Mapping[str, Mapping[str, str]], table: Path, columns: Mapping[str, str], folder: Path) -> Case:
    name = match["case"]
    if name not in people:
        raise InputError(f"{table}: has no row of {name}; add its weight and dose, or take its images out.")
    numbers = {}
    for key in ("weight_kg", "dose_bq", "delay_s", "half_life_s"):
        try:
            numbers[key] = float(people[name][columns[key]])
        except ValueError:
            numbers[key] = math.nan
        if not math.isfinite(numbers[key]) or numbers[key] < 0 or (numbers[key] == 0 and key != "delay_s"):
            raise InputError(f"{table}: {name}: {columns[key]} is {people[name][columns[key]]!r}; give a positive number.")
    at_start = numbers["dose_bq"] * 2 ** (-numbers["delay_s"] / numbers["half_life_s"])
    return Case(name, int(match["drf"]), folder / match.string, numbers["weight_kg"], at_start)


def _rows(path: Path, needed: list[str]) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.DictReader(text.splitlines(), delimiter="\t" if "\t" in text.partition("\n")[0] else ",", restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table ({error}); mend it.") from None
    have = list(rows[0]) if rows else []
    if missing := [name for name in needed if name not in have]:
        raise InputError(
            f"{path}: has no column {missing[0]!r} (it has {', '.join(map(str, have))[:200] or 'no row'}); name it, or add it."
        )
    return rows


def region_values(suv: NDArray[np.floating], region: NDArray[np.bool_], voxel_ml: float) -> dict[str, float]:
    """SUVmean and SUVmax (g/ml) of a region, and its TLM, the product of SUVmean and volume (g).

    Raises:
        InputError: the region is empty.
    """
    if not region.any():
        raise InputError("region: no voxel; give the segmentation of this case.")
    inside = suv[region].astype(np.float64)
    return {"SUVmean": float(inside.mean()), "SUVmax": float(inside.max()), "TLM": float(inside.mean() * inside.size * voxel_ml)}


def score(case: Case, restored: str | Path, full_dose: str | Path, regions: Mapping[str, str | Path]) -> Iterator[dict[str, Any]]:
    """Scores of a restored image against the full dose: global ones, then in percent those of each region.

    Args:
        case: The case.
        restored: NIfTI in Bq/ml.
        full_dose: The same person's at full dose.
        regions: By name, masks on the same grid.

    Yields:
        `region` (`whole` for global ones), `metric` and `value`. NRMSE is the root of NMSE, PSNR's range the full dose's maximum.

    Raises:
        InputError: an image cannot be read, grids differ, or a region is empty or has no uptake.
    """
    estimate, reference = read_volume(restored), read_volume(full_dose)
    masks = {name: read_volume(path) for name, path in regions.items()}
    for path, image in ((restored, estimate), *((regions[name], mask) for name, mask in masks.items())):
        if not same_grid(image, reference):
            raise InputError(f"{path}: its grid (shape {image.shape}) is not that of {full_dose} (shape {reference.shape}); resample it.")
    ours, true = (np.asarray(image.dataobj, dtype=np.float64) * case.factor for image in (estimate, reference))
    measures = {"PSNR": psnr(ours, true), "SSIM": ssim(ours, true), "NRMSE": math.sqrt(nmse(ours, true))}
    for metric, value in measures.items():
        yield {"region": "whole", "metric": metric, "value": value}
    voxel_ml = float(np.prod(voxel_mm(reference))) / 1000
    for name, mask in masks.items():
        inside = np.asarray(mask.dataobj) > 0
        try:
            found, full = (region_values(suv, inside, voxel_ml) for suv in (ours, true))
        except InputError as error:
            raise InputError(f"{regions[name]}: {error}") from None
        for metric, value in full.items():
            if value <= 0:
                raise InputError(f"{full_dose}: {metric} of {name} is {value:g}; give the full dose and its own segmentation.")
            yield {"region": name, "metric": f"{metric} error", "value": 100 * abs(found[metric] - value) / value}
