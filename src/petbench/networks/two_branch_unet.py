"""M2Diff's network: a PET and an MR branch of improved diffusion's U-Net, joined by hierarchical feature fusion (HFF)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.blocks import convolution
from petbench.networks.diffusion_unet import Branch, TimeEmbedding, group_norm

HFF = ("concat", "projected", "none")


class Projection(nn.Module):
    """One level of the projected fusion (M2Diff, eq. 4): a linear map of each branch, then a non-linear head on both."""

    def __init__(self, spatial_dims: int, channels: int):
        super().__init__()
        self.pet, self.mr = (convolution(spatial_dims, channels, channels, kernel_size=1) for _ in range(2))
        self.head = nn.Sequential(
            group_norm(2 * channels), nn.SiLU(), convolution(spatial_dims, 2 * channels, channels, kernel_size=3), nn.SiLU()
        )

    def forward(self, pet: Tensor, mr: Tensor) -> Tensor:
        """Fuse two skips (B, C, *grid) into one of the same shape."""
        fused: Tensor = self.head(torch.cat([self.pet(pet), self.mr(mr)], dim=1))
        return fused


class TwoBranchUNet(nn.Module):
    """Two branches with one time embedding; the PET branch sees {noisy image, low dose}, the MR branch {MR, noisy image}.

    The MR branch has no attention, and one residual block for its middle. Hooks on `pet.encoder`, `pet.decoder`, `mr.encoder` and
    `mr.decoder` see the features of both, level by level.

    Args:
        spatial_dims: 2 or 3.
        out_channels: Channels of a head.
        width: See `Branch`, also for `multipliers`, `blocks`, `attention`, `heads` and `head`.
        multipliers: See `width`.
        blocks: See `width`.
        attention: See `width`; of the PET branch.
        heads: See `width`.
        head: See `width`; of each branch.
        dropout: Probability of dropping a feature in the encoders and middles (`encoder`), `pet_decoder` and `mr_decoder`.
        hff: What a decoder layer joins: its own skip and the other branch's (`concat`), both fused (`projected`), its own (`none`).
        bottleneck: Decoders begin with their own branch's middle (`separate`), or with both middles mapped by a pointwise convolution
            (`joined`).
        decoders: 2, or 1 for the PET branch's alone; the MR branch is then an encoder only.

    Raises:
        InputError: the MR branch would reach no output, or a part does not fit `Branch`.
    """

    def __init__(
        self,
        spatial_dims: int,
        out_channels: int,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        heads: int,
        head: str,
        dropout: Mapping[str, float],
        hff: str,
        bottleneck: str,
        decoders: int,
    ):
        super().__init__()
        if decoders == 1 and (hff == "none" or bottleneck == "joined"):
            raise InputError("network/decoders: one decoder needs hff (concat or projected) and a separate bottleneck.")
        self.hff = hff
        self.embed = TimeEmbedding(width)

        def branch(attention: Sequence[int], decoder: str, middle: bool, images: int) -> Branch:
            rates = dropout["encoder"], dropout[decoder]
            skips = 2 if hff == "concat" else 1
            return Branch(spatial_dims, 2, images, width, multipliers, blocks, attention, heads, head, *rates, skips=skips, middle=middle)

        self.pet = branch(attention, "pet_decoder", middle=True, images=out_channels)
        self.mr = branch([], "mr_decoder", middle=False, images=out_channels if decoders == 2 else 0)
        self.decoders = decoders
        if hff == "projected":
            self.fusion = nn.ModuleList(Projection(spatial_dims, channels) for channels in self.pet.skip_channels)
        coarsest = self.pet.skip_channels[-1]
        self.join = convolution(spatial_dims, 2 * coarsest, coarsest, kernel_size=1) if bottleneck == "joined" else None

    def forward(
        self,
        noisy: Tensor,
        time: Tensor,
        low_dose: Tensor,
        mr: Tensor | None,
        known: Tensor | None = None,
        mr_decoder_sees_all: bool = False,
        mr_head: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """What the PET head and the MR head make of noisy images.

        Args:
            noisy: (B, 1, *spatial), as are `low_dose` and `mr`.
            time: Steps (B,).
            low_dose: Scaled low-dose PET.
            mr: Scaled MR, or none: nothing of the MR branch is computed, and copies of the PET features stand in for its.
            known: Samples (B,) whose MR may be used; the others are treated as if there were none. None for all.
            mr_decoder_sees_all: Whether `known` is for the PET branch's decoder only, while that of the MR branch sees the MR of all.
            mr_head: Whether the MR head is wanted; without it the MR branch is encoded for the PET head, and not decoded.

        Returns:
            Outputs (B, out_channels, *spatial) of the PET head and of the MR head; the latter not without MR, with one decoder or unwanted.

        Raises:
            InputError: a side is not divisible by 2 ** (levels - 1).
        """
        embedding = self.embed(time)
        of_pet = self.pet.encode(torch.cat([noisy, low_dose], dim=1), embedding)
        pet_bottom = self.pet.bottom(of_pet, embedding)
        if mr is None:
            return self.pet.decode(self._join(pet_bottom, pet_bottom, pet_bottom), self._fuse(of_pet, of_pet), embedding), None

        def usable(features: Tensor, instead: Tensor) -> Tensor:
            return features if known is None else torch.where(known.reshape(-1, *[1] * (features.ndim - 1)), features, instead)

        of_mr = self.mr.encode(torch.cat([mr, noisy], dim=1), embedding)
        shown = [usable(*features) for features in zip(of_mr, of_pet, strict=True)]
        fused = self._fuse(of_pet, shown)
        if self.decoders == 1 or (self.join is None and not mr_head):
            return self.pet.decode(pet_bottom, fused, embedding), None
        mr_bottom = self.mr.bottom(of_mr, embedding)
        shown_bottom = usable(mr_bottom, pet_bottom)
        of_pet_head = self.pet.decode(self._join(pet_bottom, pet_bottom, shown_bottom), fused, embedding)
        if not mr_head:
            return of_pet_head, None
        seen, seen_bottom = (of_mr, mr_bottom) if mr_decoder_sees_all else (shown, shown_bottom)
        # concatenated, each decoder has its own skip first
        pairs = (of_pet, seen) if self.hff == "projected" else (seen, of_pet)
        crossed = fused if self.hff == "projected" and seen is shown else self._fuse(*pairs)
        return of_pet_head, self.mr.decode(self._join(seen_bottom, pet_bottom, seen_bottom), crossed, embedding)

    def _join(self, own: Tensor, pet: Tensor, mr: Tensor) -> Tensor:
        return own if self.join is None else self.join(torch.cat([pet, mr], dim=1))

    def _fuse(self, own: Sequence[Tensor], other: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        """What each decoder layer joins, from the skips of its own branch and of the other."""
        if self.hff == "none":
            return [(skip,) for skip in own]
        pairs = zip(own, other, strict=True)
        if self.hff == "concat":
            return list(pairs)
        return [(fusion(*pair),) for fusion, pair in zip(self.fusion, pairs, strict=True)]
