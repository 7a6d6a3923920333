import pytest
import torch

from petbench.errors import InputError
from petbench.networks.span import Span


def test_the_ends_become_minus_one_and_one_and_all_comes_back():
    span = Span([-0.5, 2.5], "train/range")
    assert span.encode(torch.tensor([-0.5, 1.0, 2.5])).tolist() == [-1.0, 0.0, 1.0]
    pet = torch.linspace(-3, 5, 17)
    torch.testing.assert_close(span.decode(span.encode(pet)), pet)


@pytest.mark.parametrize("bounds", [(1.0, 1.0), (2.0, 0.0)])
def test_bounds_must_ascend(bounds):
    with pytest.raises(InputError, match=rf"train/range: {bounds[0]} is not below {bounds[1]}; give a lower value and then a higher one"):
        Span(bounds, "train/range")
