"""What a sidecar says of how a PET image was acquired, as far as weights must agree with it: tracer, scanner and dose."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from petbench.data.bids import entities, read_sidecar, unit

SAID = {"tracer": "TracerName", "radionuclide": "TracerRadionuclide", "scanner": "ManufacturersModelName", "dose_fraction": "DoseFraction"}
"""What is compared as it is said, and the field of a sidecar that says it."""
MBQ = {"bq": 1e-6, "kbq": 1e-3, "mbq": 1.0, "gbq": 1e3, "mci": 37.0}
ISOTOPE = "(?:f|c|n|o|ga|zr|rb|cu|i|br|y|sc|mn)"
SAME = {"fluorodeoxyglucose": "fdg", "fludeoxyglucose": "fdg"}
FURTHEST = {"dose_fraction": 1.5, "mbq_seconds": 2.0}
"""The factor by which a dose may differ from those trained on: share of the standard dose, and injected activity x duration."""


def acquired(image: str | Path) -> dict[str, str | float]:
    """What the sidecar of a PET image says of its acquisition; what it does not say is left out.

    Returns:
        `tracer` (or the name's `trc-` label), `radionuclide`, `scanner` as written, `dose_fraction` of the standard dose, and
        `mbq_seconds`, injected activity times duration.

    Raises:
        InputError: a sidecar is no JSON object.
    """
    sidecar = read_sidecar(image)
    said = {name: sidecar[field] for name, field in SAID.items() if sidecar.get(field) not in (None, "", "n/a")}
    fraction = said.pop("dose_fraction", None)
    told: dict[str, str | float] = {name: str(value) for name, value in said.items()}
    if _numbers([fraction]):
        told["dose_fraction"] = float(fraction)
    if "tracer" not in told and "trc" in entities(image):
        told["tracer"] = entities(image)["trc"]
    activity, durations = sidecar.get("InjectedRadioactivity", 0), sidecar.get("FrameDuration")
    factor = MBQ.get(unit(sidecar.get("InjectedRadioactivityUnits", "")))
    if factor and _numbers([activity]) and isinstance(durations, list) and _numbers(durations):
        told["mbq_seconds"] = activity * factor * sum(durations)
    return told


def _numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) and value > 0 for value in values)


def unlike(scan: Mapping[str, str | float], trained: Sequence[Mapping[str, str | float]]) -> Iterator[str]:
    """Where a scan's sidecar contradicts those of all scans that weights were trained on; what either does not say contradicts nothing."""
    for name, value in scan.items():
        known = [one[name] for one in trained if name in one]
        if known and not any(_agree(name, value, one) for one in known):
            listed = ", ".join(dict.fromkeys(f"{one:.3g}" if isinstance(one, float) else str(one) for one in known))
            yield f"{name.replace('_', ' ')} {value:.3g} for {listed}" if isinstance(value, float) else f"{name} {value} for {listed}"


def _agree(name: str, one: str | float, other: str | float) -> bool:
    if name in FURTHEST:
        larger, smaller = max(float(one), float(other)), min(float(one), float(other))
        return larger <= FURTHEST[name] * smaller
    return _plain(str(one)) == _plain(str(other))


def _plain(name: str) -> str:
    """A name in one spelling: `[18F]FDG`, `18F-FDG` and `FDG` are one, as are `18F` and `F-18`."""
    joined = re.sub(r"\b([a-z]{1,2})-(?=\d)|\b(\d{1,3})-(?=[a-z]{1,2}\b)", r"\1\2", name.casefold())
    words = re.findall(r"[a-z0-9]+", joined)
    isotopes = [word for word in words if re.fullmatch(rf"\d{{1,3}}{ISOTOPE}|{ISOTOPE}\d{{1,3}}", word)]
    others = "".join(SAME.get(word, word) for word in words if word not in isotopes)
    return others or "".join(sorted(re.findall(r"[a-z]+|\d+", "".join(isotopes[:1])), key=str.isdigit))
