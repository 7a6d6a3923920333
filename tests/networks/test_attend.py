import pytest
import torch

from petbench.networks.attention import attend


@pytest.mark.parametrize("scale", [None, 1.0])
@pytest.mark.parametrize(("heads", "compared", "taken"), [(1, 5, 12), (2, 6, 20), (2, 32, 16)])
def test_attention_is_a_softmax_of_products(heads, compared, taken, scale):
    query, key, value = torch.randn(2, 7, compared), torch.randn(2, compared, 9).transpose(1, 2), torch.randn(2, 9, taken)
    shares = zip(*(tokens.chunk(heads, dim=2) for tokens in (query, key, value)), strict=True)
    factor = (compared / heads) ** -0.5 if scale is None else scale
    expected = torch.cat([(factor * q @ k.transpose(1, 2)).softmax(2) @ v for q, k, v in shares], dim=2)
    torch.testing.assert_close(attend(query, key, value, heads, scale), expected)
