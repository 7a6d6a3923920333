"""Names with a meaning of their own: rows that are no method, doses, a domain; and what a wildcard may be."""

import re
from collections.abc import Sequence

from petbench.evaluation.definitions import STANDARD_ROW

LOW_DOSE = "low_dose"
ACQUISITION = "acquisition"
"""An input beside images: the scan, for methods that reconstruct it."""
MORE_INPUTS = ("context", ACQUISITION)
"""What `restore/inputs` may name beside the low dose and MR, as in `petbench.methods.base`; a module takes what its schema names."""
UNRESTORED = (LOW_DOSE, STANDARD_ROW)
"""Rows of a table that are images of the data set, not a method's."""
STANDARD = "standard"
NO_DOSE = "none"
"""The dose of data sets whose PET is made of MR alone."""
VOLUMES = "volumes"
"""The domain that every data set has: the whole working grid as one window."""


def wildcard_choice(names: Sequence[str]) -> str:
    """A regular expression that matches exactly these names."""
    return "|".join(re.escape(name) for name in sorted(names)) or "(?!)"
