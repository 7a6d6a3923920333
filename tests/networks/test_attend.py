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


def test_dropout_leaves_out_weights_and_raises_the_others():
    """With one token to look at its weight is 1: it is left out or doubled; without dropout it is taken as it is."""
    query, key, value = torch.randn(64, 1, 6), torch.randn(64, 1, 6), torch.ones(64, 1, 6)
    seen = attend(query, key, value, heads=2, dropout=0.5)
    assert set(seen.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(attend(query, key, value, heads=2), value)
