"""Attention in the form that fused kernels take, which hold no score for every pair of tokens."""

from torch import Tensor, nn

MULTIPLE = 8
"""Fused kernels take heads of one width in multiples of it."""


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, scale: float | None = None, dropout: float = 0.0) -> Tensor:
    """Let tokens attend to tokens, each head to its own share of their features.

    Heads are filled up with zeros to one width that fused kernels take; in any other form PyTorch stores a score for every pair of tokens,
    4 GB a volume at a grid of 32.

    Args:
        query: Tokens that look, (B, N, C).
        key: What they compare with, (B, M, C).
        value: What they get, (B, M, D).
        heads: A divisor of C and D.
        scale: Of the scores; by default one over the root of a head's C.
        dropout: Share of the weights that is left out now; 0 where nothing is trained.

    Returns:
        (B, N, D).
    """
    scale = (query.shape[-1] // heads) ** -0.5 if scale is None else scale
    own = value.shape[-1] // heads
    width = max(query.shape[-1] // heads, own)
    width += -width % MULTIPLE

    def split(tokens: Tensor) -> Tensor:
        parts = tokens.contiguous().view(*tokens.shape[:2], heads, -1).transpose(1, 2)
        return nn.functional.pad(parts, (0, width - parts.shape[-1])) if parts.shape[-1] < width else parts

    attended = nn.functional.scaled_dot_product_attention(split(query), split(key), split(value), dropout_p=dropout, scale=scale)
    return attended[..., :own].transpose(1, 2).flatten(2)
