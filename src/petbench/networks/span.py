"""Scaled PET as the numbers from -1 to 1 that some networks take and give."""

from collections.abc import Sequence

from torch import Tensor

from petbench.errors import InputError


class Span:
    """A linear map of scaled PET, a low and a high value, to -1 and 1; nothing is clipped.

    Args:
        bounds: The two values.
        key: Key of the entry that gives them, for messages.

    Raises:
        InputError: they do not ascend.
    """

    def __init__(self, bounds: Sequence[float], key: str):
        self.low, self.high = bounds
        if self.low >= self.high:
            raise InputError(f"{key}: {self.low} is not below {self.high}; give a lower value and then a higher one.")

    def encode(self, pet: Tensor) -> Tensor:
        """Scaled PET, any shape, with low at -1 and high at 1."""
        return (2 * pet - self.low - self.high) / (self.high - self.low)

    def decode(self, image: Tensor) -> Tensor:
        """The inverse of `encode`."""
        return ((self.high - self.low) * image + self.low + self.high) / 2
