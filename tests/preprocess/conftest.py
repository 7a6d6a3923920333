import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from petbench.data.nifti import volume
from petbench.data.phantom import make_subject


@pytest.fixture(scope="session")
def phantom():
    """A subject on the demo scanner's grid, drawn coarsely."""
    return make_subject({"working_mm": 4.0, "t1": {"voxel_mm": 4.0}}, (64, 64, 48), (4.0, 4.0, 4.0), seed=11)


@pytest.fixture(scope="session")
def pet(phantom):
    """Its activity as a scanner of 6 mm would show it, with noise."""
    blurred = gaussian_filter(phantom.activity, 6 / 2.355 / 4)
    noisy = np.random.default_rng(0).poisson(blurred / 200) * np.float32(200)
    return volume(gaussian_filter(noisy, 4 / 2.355 / 4), phantom.affine)


@pytest.fixture(scope="session")
def t1(phantom):
    return volume(phantom.t1, phantom.t1_affine)
