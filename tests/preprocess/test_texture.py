"""Noise and smoothness are those that an image was made with."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from petbench.preprocess.texture import noise, smoothness_mm

RNG = np.random.default_rng(0)
WHITE = RNG.normal(size=(60, 64, 56))
REGION = np.pad(np.ones((54, 58, 50), dtype=bool), 3)
FWHM = 2 * np.sqrt(2 * np.log(2))


@pytest.mark.parametrize("sd", [0.01, 3.0])
def test_white_noise_has_its_standard_deviation_over_any_smooth_image(sd):
    ramp = np.indices(WHITE.shape).sum(axis=0) * 0.1
    assert noise(ramp + sd * WHITE, REGION) == pytest.approx(sd, rel=0.02)


def test_edges_are_no_noise():
    x, y, z = np.indices(WHITE.shape)
    ball = 5.0 * ((x - 30) ** 2 + (y - 32) ** 2 + (z - 28) ** 2 < 400)
    assert noise(ball + 0.1 * WHITE, REGION) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("width_mm", [4.0, 6.0, 9.0])
def test_filtered_noise_is_as_smooth_as_its_filter(width_mm):
    edges = (2.0, 2.0, 1.5)
    filtered = gaussian_filter(WHITE, width_mm / FWHM / np.array(edges))
    assert smoothness_mm(filtered, REGION, edges) == pytest.approx(width_mm, rel=0.12)
    assert smoothness_mm(1e6 * filtered, REGION, edges) == pytest.approx(smoothness_mm(filtered, REGION, edges))
