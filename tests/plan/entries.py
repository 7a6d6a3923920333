"""Small entries as `petbench.workflow.entries.load` returns them, and the plan of them."""

from pathlib import Path
from typing import Any

from petbench.plan.plan import Plan
from petbench.plan.scale import Wildcards

ROOT = Path(__file__).parents[2]


class Untimed(str):
    """A file whose time does not count."""


def dataset(**keys: Any) -> dict[str, Any]:
    """A phantom data set of three subjects, each a fold of its own."""
    return {
        "title": "Phantoms",
        "source": "phantom",
        "phantom": {"lesions": 2},
        "subjects": ["01", "02", "03"],
        "seed": 1,
        "scanner": "tiny",
        "doses": {"drf4": {"drf": 4}, "drf25": {"drf": 25, "simulation": {"psf_mm": 5.0}}},
        "simulation": {"counts": 1e6, "psf_mm": 4.0},
        "reconstruction": {"iterations": 2},
        "split": {"scheme": "leave_one_out"},
        "preprocess": {"registration": {"fixed": "standard"}, "grid": {"shape": [8, 8, 8]}, "scaling": {"mode": "low_dose"}},
        "domains": {"patches": {"window": [4, 4, 4]}},
    } | keys


def method(**keys: Any) -> dict[str, Any]:
    """A method with a training of its own."""
    if not keys.keys() & {"weights_of", "ensemble"}:
        keys = {"module": "m_unet", "train": {"domain": "patches"}} | keys
    return {"title": "Method", "restore": {"inputs": ["low_dose", "mr"]}} | keys


def table(rows: list[str], *columns: tuple[str, str], **keys: Any) -> dict[str, Any]:
    """An experiment that shows rows in columns, each a data set and a dose."""
    shown = [{"dataset": dataset, "dose": dose, "label": dose} for dataset, dose in columns]
    return {"kind": "table", "paper": "paper", "title": "A table", "rows": rows, "columns": shown, "metrics": ["psnr"]} | keys


def entries(experiments: dict[str, Any], **kinds: Any) -> dict[str, Any]:
    """All kinds of entries of a scale; what is not given is empty."""
    known = ("datasets", "methods", "classifiers", "scanners", "psf_sets", "predictors", "torsos", "calibrations")
    empty: dict[str, Any] = {kind: {} for kind in known}
    return {"scale": "made_up", "run": list(experiments), "experiments": experiments, "report": {}} | empty | kinds


def plan(experiments: dict[str, Any], given: dict[str, Any] | None = None, **kinds: Any) -> Plan:
    return Plan(entries(experiments, **kinds), given or {}, ROOT, Untimed)


def job(**wildcards: str) -> Wildcards:
    return Wildcards(**wildcards)
