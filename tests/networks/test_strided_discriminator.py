import pytest
import torch

from petbench.networks.strided_discriminator import StridedDiscriminator


@pytest.mark.parametrize("kernel_size", [3, 4])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_each_place_of_the_coarsest_grid_has_a_logit(kernel_size, spatial_dims):
    discriminator = StridedDiscriminator(spatial_dims, 2, [4, 8], kernel_size, "instance")
    side = (16,) * spatial_dims
    assert discriminator(torch.rand(1, 2, *side)).shape == (1, 1, *[length // 4 for length in side])
