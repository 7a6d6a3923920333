"""A phantom subject on disk: its images as BIDS names them, and what is known of it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.anatomy import LABELS
from petbench.data.bids import sidecar_path
from petbench.data.lesions import Lesion
from petbench.data.mni_head import Severity
from petbench.data.nifti import volume, write_volume
from petbench.data.phantom import Phantom
from petbench.errors import InputError
from petbench.files import read_json, write_json


@dataclass(frozen=True)
class Truth:
    """What is known of a phantom subject beside its images: `t1_to_pet` (4x4, RAS mm), label names, lesions, landmarks in T1 space (mm)."""

    t1_to_pet: NDArray[np.float64]
    labels: dict[str, int]
    lesions: tuple[Lesion, ...]
    seed: int
    group: str
    severity: Severity
    landmarks: dict[str, tuple[float, float, float]]


def write_phantom_subject(
    phantom: Phantom,
    *,
    t1w: str | Path,
    activity: str | Path,
    attenuation: str | Path,
    labels: str | Path,
    truth: str | Path,
) -> None:
    """Write one subject's images (NIfTI, each with its JSON sidecar) and its truth (JSON), at the paths given."""
    described: dict[str | Path, tuple[NDArray[Any], NDArray[np.float64], dict[str, Any]]] = {
        t1w: (phantom.t1, phantom.t1_affine, {"Modality": "MR", "Description": "Simulated T1-weighted image", "Units": "arbitrary"}),
        activity: (phantom.activity, phantom.affine, {"Description": "True activity concentration", "Units": "Bq/mL"}),
        attenuation: (phantom.attenuation, phantom.affine, {"Description": "Attenuation at 511 keV", "Units": "1/cm"}),
        labels: (
            phantom.labels,
            phantom.affine,
            {"Description": "True labels: the largest share of each voxel", "LabelMap": _label_map(phantom)},
        ),
    }
    for path, (data, affine, sidecar) in described.items():
        write_volume(path, data, like=volume(data, affine))
        write_json(sidecar_path(path), sidecar)
    write_json(
        truth,
        {
            "T1wToPET": phantom.t1_to_pet.tolist(),
            "Labels": LABELS,
            "Lesions": [asdict(lesion) for lesion in phantom.lesions],
            "Seed": phantom.seed,
            "Group": phantom.group,
            "Severity": phantom.severity._asdict(),
            "Landmarks": {name: list(point) for name, point in phantom.landmarks.items()},
            "RotationDeg": phantom.rotation_deg,
            "Origin": dict(phantom.origin),
        },
    )


def _label_map(phantom: Phantom) -> dict[str, int]:
    return LABELS | {f"lesion-{lesion.label} ({lesion.kind})": lesion.label for lesion in phantom.lesions}


def read_truth(path: str | Path) -> Truth:
    """Read what `write_phantom_subject` wrote as truth.

    Raises:
        InputError: the file is missing, no JSON, or lacks a field.
    """
    content = read_json(path)
    try:
        return Truth(
            t1_to_pet=np.array(content["T1wToPET"], dtype=np.float64),
            labels=content["Labels"],
            lesions=tuple(Lesion(**{**row, "centre_mm": tuple(row["centre_mm"])}) for row in content["Lesions"]),
            seed=content["Seed"],
            group=content["Group"],
            severity=Severity(**content["Severity"]),
            landmarks={name: tuple(point) for name, point in content["Landmarks"].items()},
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not the truth of a phantom subject ({error}); make the subject again.") from None
