"""What the pictures of an experiment show: which data sets and doses, and what their planes go through."""

from collections.abc import Mapping
from typing import Any

LESIONS = {
    "lesion": "lesion that PET shows",
    "pet_only_lesion": "PET-only lesion",
    "shared_lesion": "lesion that PET and MR share",
    "mr_only_lesion": "MR-only lesion",
}
"""What planes of views may go through in a phantom, and what it is called."""


def places_of(experiment: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """Data set and dose of each column, once, with the column's label; an empty one where several columns share a place."""
    columns = [((column["dataset"], column["dose"]), column["label"]) for column in experiment["columns"]]
    places = [place for place, _ in columns]
    return {place: label if places.count(place) == 1 else "" for place, label in columns}


def through_lesions(experiment: Mapping[str, Any]) -> bool:
    """Whether some planes go through lesions, so that they must be known."""
    return any(place in LESIONS for place in experiment["views"].get("through", []) if isinstance(place, str))
