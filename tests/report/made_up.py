"""Pieces of the made-up study that tests also use by themselves."""

from pathlib import Path

import yaml

from petbench.files import write_json

ROOT = Path(__file__).parents[2]
FILTERS = {"gaussian": 1.2, "nlm": 0.8}
"""Trivial rows, and what they gain on the low dose: less than every other method."""
ABLATIONS = ("mak_gan-a", "mak_gan-b", "mak_gan-c", "mak_gan-d", "mak_gan-guided")
RATIOS = ("mke_1_1_1", "mke_1_2_1", "mke_1_1_2", "aki_1_1_0", "aki_2_1_1", "aki_1_2_1", "aki_1_1_2")


def experiment(name: str) -> dict:
    return yaml.safe_load((ROOT / f"config/experiments/{name}.yaml").read_text())


METHODS = tuple(row for row in experiment("mak_gan_table1")["rows"] if row not in FILTERS)


def title_of(method: str) -> str:
    return yaml.safe_load((ROOT / f"config/methods/{method}.yaml").read_text())["title"]


def long_rows(dataset: str, dose: str, method: str, metric: str, values, reference="standard_dose", region="whole") -> list[dict]:
    return [
        {
            "dataset": dataset,
            "dose": dose,
            "method": method,
            "fold": str(fold),
            "subject": f"sub-{fold + 1:02d}",
            "person": f"sub-{fold + 1:02d}",
            "reference": reference,
            "region": region,
            "metric": metric,
            "value": float(value),
        }
        for fold, value in enumerate(values)
    ]


def write_truth(path: Path, kinds: dict[int, str]) -> None:
    """A phantom subject's truth, with a lesion a label."""
    known = {"centre_mm": [0, 0, 0], "radius_mm": 5.0, "uptake": "hot", "contrast": 1.5}
    lesions = [{"label": label, "kind": kind, **known} for label, kind in kinds.items()]
    identity = [[float(row == column) for column in range(4)] for row in range(4)]
    known = {"T1wToPET": identity, "Labels": {}, "Lesions": lesions, "Seed": 1, "Group": "cn", "Landmarks": {}}
    write_json(path, known | {"Severity": {"atrophy": 0.0, "hypometabolism": 0.0}})
