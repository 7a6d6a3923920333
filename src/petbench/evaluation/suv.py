"""Standardised uptake values."""

from petbench.errors import InputError


def suv_factor(weight_kg: float, dose_bq: float) -> float:
    """What activity in Bq/ml is multiplied by to become SUV by body weight (g/ml), weight over dose.

    Args:
        weight_kg: Body weight.
        dose_bq: Injected activity, decayed to the time that the image is corrected to.

    Raises:
        InputError: one of them is not positive.
    """
    if not (0 < weight_kg < float("inf") and 0 < dose_bq < float("inf")):
        raise InputError(f"SUV: a weight of {weight_kg} kg and a dose of {dose_bq} Bq; both must be positive.")
    return weight_kg * 1000 / dose_bq
