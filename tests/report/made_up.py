"""Pieces of the made-up study that tests also use by themselves."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
METHODS = ("low_dose", "m_unet", "mak_gan")
ABLATIONS = ("mak_gan-a", "mak_gan-b", "mak_gan-c", "mak_gan-d")
RATIOS = ("mke_1_1_1", "mke_1_2_1", "mke_1_1_2", "aki_1_1_0", "aki_2_1_1", "aki_1_2_1", "aki_1_1_2")


def experiment(name: str) -> dict:
    return yaml.safe_load((ROOT / f"config/experiments/{name}.yaml").read_text())


def long_rows(dataset: str, dose: str, method: str, metric: str, values, reference="standard_dose", region="whole") -> list[dict]:
    return [
        {
            "dataset": dataset,
            "dose": dose,
            "method": method,
            "fold": str(fold),
            "subject": f"sub-{fold + 1:02d}",
            "reference": reference,
            "region": region,
            "metric": metric,
            "value": float(value),
        }
        for fold, value in enumerate(values)
    ]
