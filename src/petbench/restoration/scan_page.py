"""The page by which a restored scan is checked: images in three planes, their difference, registration, and how like the training it is."""

import base64
import io
import tempfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petbench.data.nifti import Image, voxel_mm
from petbench.files import atomic
from petbench.preprocess.grid import isotropic
from petbench.preprocess.likeness import BOUNDS, MEASURES, Distance
from petbench.preprocess.registration import overlay

PAGE_MM = 1.5
"""Voxel edge below which the page's pictures are averaged."""

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}img{max-width:100%}
table{border-collapse:collapse;margin:1rem 0}th,td{text-align:left;padding:.15rem 1.5rem .15rem 0;vertical-align:top}
figure{margin:1.5rem 0}figcaption{color:#555}.beyond{color:#a00;font-weight:bold}"""


def write_page(
    path: str | Path,
    low_dose: Image,
    anatomy: Image,
    restored: NDArray[np.float32],
    facts: Mapping[str, Any],
    distances: Sequence[Distance],
) -> None:
    """Write the page, one file that needs nothing else.

    Args:
        path: Where to.
        low_dose: The scan.
        anatomy: The MR on its grid.
        restored: The restored image on its grid.
        facts: What the sidecar says.
        distances: How far the scan is from those that the weights were trained on; empty where they do not say.
    """
    with tempfile.TemporaryDirectory(prefix="petbench-") as folder:
        picture = Path(folder) / "registration.png"
        pet, mr = (isotropic(image, PAGE_MM) for image in (low_dose, anatomy))
        overlay(pet, mr, picture)
        registration = picture.read_bytes()
    units = str(facts.get("Units", "its own units"))
    pictures = [
        (
            _planes(low_dose, restored, units),
            "Low dose, restored, and their difference, in three planes through the head."
            " What is not restored is the low dose: no difference.",
        ),
        (registration, f"Edges of the registered MR over the low-dose PET: they must follow the head. {_fit(facts)}"),
    ]
    figures = "".join(
        f'<figure><img src="data:image/png;base64,{base64.b64encode(data).decode()}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for data, caption in pictures
    )
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(str(value))}</td></tr>" for key, value in facts.items())
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Restored PET: check</title>
<style>{STYLE}</style></head>
<body><h1>Restored PET</h1>
<p>A research result, not for diagnosis.
The weights hold for scans like those that trained them: tracer, dose, scanner and reconstruction.</p>
{figures}<h2>How like the training scans it is</h2>{_likeness(distances)}<h2>How it was made</h2><table>{rows}</table></body></html>
"""
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _fit(facts: Mapping[str, Any]) -> str:
    if not (fit := facts.get("Registration")):
        return ""
    return (
        f"Of {fit['AnglesTried']} starting angles the MR fits best turned by {fit['RotationDeg']:.0f} degrees: mutual information"
        f" {fit['MutualInformation']:.3f} inside the head, {fit['MutualInformationTurned']:.3f} at most turned another way;"
        f" it covers {fit['HeadCovered']:.0%} of the head."
    )


def _likeness(distances: Sequence[Distance]) -> str:
    if not distances:
        return "<p>The weights do not say what they were trained on: how far this scan is from it is not known.</p>"
    head = "<tr><th>measured</th><th>this scan</th><th>in training</th><th>times beyond</th><th>bound</th></tr>"
    rows = "".join(
        f"<tr{' class=beyond' if one.beyond else ''}><td>{escape(MEASURES[one.measure])}</td><td>{one.value:.3g}</td>"
        f"<td>{one.least:.3g} to {one.most:.3g}</td><td>{one.factor:.2f}</td><td>{BOUNDS[one.measure]:g}</td></tr>"
        for one in distances
    )
    return f"<table>{head}{rows}</table>"


def _planes(low_dose: Image, restored: NDArray[np.float32], units: str) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    before = isotropic(low_dose, PAGE_MM)
    after = np.asarray(isotropic(Image(restored, low_dose.affine), PAGE_MM).dataobj)
    data = np.asarray(before.dataobj)
    smooth = ndimage.gaussian_filter(data, 2.0)
    top = float(np.percentile(data, 99.8))
    centre = [round(float(place)) for place in ndimage.center_of_mass(smooth > 0.3 * np.percentile(smooth, 99.8))]
    columns: list[tuple[str, NDArray[np.float32], str, float, float]] = [
        ("low dose", data, "gray_r", 0.0, top),
        ("restored", after, "gray_r", 0.0, top),
        ("restored - low dose", after - data, "RdBu_r", -top / 2, top / 2),
    ]
    figure = Figure(figsize=(9, 9.6), layout="constrained")
    FigureCanvasAgg(figure)
    spacing = voxel_mm(before)
    places = figure.subplots(3, 3)
    for row, axis in zip(places, (2, 1, 0), strict=True):
        rest = [other for other in range(3) if other != axis]
        for place, (title, shown, colours, low, high) in zip(row, columns, strict=True):
            plane = np.take(shown, centre[axis], axis=axis).T
            drawn = place.imshow(plane, origin="lower", cmap=colours, vmin=low, vmax=high, aspect=spacing[rest[1]] / spacing[rest[0]])
            place.set_axis_off()
            if axis == 2:
                place.set_title(title, fontsize=9)
            if axis == 0:
                bar = figure.colorbar(drawn, ax=place, location="bottom", fraction=0.08, pad=0.02)
                bar.ax.tick_params(labelsize=7)
                bar.set_label(units, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=80, format="png")
    return buffer.getvalue()
