"""MFdiff's fusion of PET and MR at full resolution: intra-modality learning, then cross-modality aggregation (MFdiff, section 3.1)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.blocks import convolution
from petbench.networks.invertible import InvertibleBranch
from petbench.networks.restormer import TransformerBlock

BRANCHES = ("global", "detail")
AGGREGATIONS = ("sum", "concatenation")


class ModalityFusion(nn.Module):
    """The fusion feature of low-dose PET and MR (MFdiff, figure 2, b and c).

    Each modality has an encoder and branches of its own, of the same form: a 3-wide embedding, Restormer blocks, and on their
    output the branches, one of attention (global) and one invertible (detail). For each branch the features of both modalities are
    aggregated and go through a fusion layer of the branch's form; the results are joined, projected and decoded.

    Args:
        spatial_dims: 2 or 3.
        channels: Channels throughout.
        encoder_blocks: Restormer blocks of each modality's encoder.
        decoder_blocks: Restormer blocks that decode the fused features.
        heads: Attention heads.
        expansion: Hidden width of the gated feed-forward networks over the channels.
        branches: `global` and `detail` for each branch; the same twice stands for the ablations that have one kind only.
        attention: Of the global branch: `channel`, or `window` for spatial attention inside windows.
        window: Side of these windows, in voxels.
        nodes: Coupling nodes of a detail branch.
        fusion_nodes: Coupling nodes of a detail fusion layer.
        detail_expansion: Hidden width of the couplings' inverted-residual maps over their input.
        mixing: Between coupling nodes: `permutation` or `orthogonal`.
        aggregation: Of both modalities' features: their `sum`, or their `concatenation`, projected.

    Raises:
        InputError: a value is not one of those listed, or the widths do not fit each other.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        encoder_blocks: int,
        decoder_blocks: int,
        heads: int,
        expansion: float,
        branches: Sequence[str],
        attention: str,
        window: int,
        nodes: int,
        fusion_nodes: int,
        detail_expansion: int,
        mixing: str,
        aggregation: str,
    ):
        super().__init__()
        for branch in branches:
            if branch not in BRANCHES:
                raise InputError(f"network/branches: {branch!r} is unknown; choose from {', '.join(BRANCHES)}.")
        if aggregation not in AGGREGATIONS:
            raise InputError(f"network/aggregation: {aggregation!r} is unknown; choose one of {', '.join(AGGREGATIONS)}.")

        def layer(branch: str, couplings: int) -> nn.Module:
            if branch == "global":
                return TransformerBlock(spatial_dims, channels, heads, expansion, attention, window)
            return InvertibleBranch(spatial_dims, channels, couplings, detail_expansion, mixing)

        def blocks(count: int) -> list[nn.Module]:
            return [TransformerBlock(spatial_dims, channels, heads, expansion) for _ in range(count)]

        def encoder() -> nn.Module:
            return nn.Sequential(convolution(spatial_dims, 1, channels, kernel_size=3), *blocks(encoder_blocks))

        self.pet_encoder, self.mr_encoder = encoder(), encoder()
        self.pet_branches = nn.ModuleList(layer(branch, nodes) for branch in branches)
        self.mr_branches = nn.ModuleList(layer(branch, nodes) for branch in branches)
        self.aggregate = nn.ModuleList(
            convolution(spatial_dims, 2 * channels, channels, kernel_size=1) if aggregation == "concatenation" else nn.Identity()
            for _ in branches
        )
        self.summed = aggregation == "sum"
        self.fuse = nn.ModuleList(layer(branch, fusion_nodes) for branch in branches)
        self.decoder = nn.Sequential(convolution(spatial_dims, len(branches) * channels, channels, kernel_size=1), *blocks(decoder_blocks))

    def forward(self, low_dose: Tensor, mr: Tensor) -> Tensor:
        """The fusion feature (B, channels, *spatial) of low-dose PET and MR, both (B, 1, *spatial).

        Raises:
            InputError: windows of attention do not tile the images.
        """
        pet, anatomy = self.pet_encoder(low_dose), self.mr_encoder(mr)
        fused = []
        for of_pet, of_mr, aggregate, fuse in zip(self.pet_branches, self.mr_branches, self.aggregate, self.fuse, strict=True):
            parts = of_pet(pet), of_mr(anatomy)
            fused.append(fuse(aggregate(parts[0] + parts[1] if self.summed else torch.cat(parts, dim=1))))
        feature: Tensor = self.decoder(torch.cat(fused, dim=1))
        return feature
