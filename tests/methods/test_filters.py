"""Filters of the low dose: what they are, and that training chooses how strong."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means

from petbench.errors import InputError
from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.methods.nlm import noise_of

from .entries import entry

SHAPES = [(14, 17, 12), (21, 18)]


def tensor(image):
    return torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None, None]


def head(shape, noise, seed=0):
    """A warm ball in the air, and what a noisy scan sees of it."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, size) for size in shape], indexing="ij")
    ball = (sum(axis**2 for axis in axes) < 0.6).astype(np.float32)
    return ball, (ball + noise * rng.normal(size=shape) * ball).astype(np.float32)


def trained(name, pairs, **change):
    """A method after it was shown each pair of low and standard dose once."""
    method = build(name, entry(name)["train"] | change)
    for low_dose, standard_dose in pairs:
        assert list(method.losses({"low_dose": tensor(low_dose), "standard_dose": tensor(standard_dose)}, Progress(0, 1))) == []
    return method


def restored(method, image):
    return method.restore(tensor(image), None)[0, 0].numpy()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("planted", [0.5, 1.2, 2.5])
def test_the_gaussian_finds_the_width_of_which_the_standard_dose_is_made_and_is_scipys(shape, planted):
    rng = np.random.default_rng(1)
    lows = [rng.normal(size=shape) for _ in range(3)]
    pairs = [(low, gaussian_filter(low, planted, mode="nearest") + 0.01 * rng.normal(size=shape)) for low in lows]
    method = trained("gaussian", pairs)
    assert float(method.widths[method.errors.argmin()]) == pytest.approx(planted)
    unseen = rng.normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(restored(method, unseen), gaussian_filter(unseen, planted, mode="nearest", truncate=10), atol=2e-6)


def test_a_noisier_dose_is_filtered_more():
    chosen = []
    for noise in (0.1, 0.4, 1.6):
        method = trained("gaussian", [head((20, 20, 20), noise, seed)[::-1] for seed in range(2)])
        chosen.append(int(method.errors.argmin()))
    assert chosen == sorted(set(chosen))


@pytest.mark.parametrize("shape", SHAPES)
def test_non_local_means_are_scikit_images_at_the_strength_that_errs_least(shape):
    pairs = [head(shape, 0.3, seed)[::-1] for seed in range(2)]
    method = trained("nlm", pairs)
    keys = entry("nlm")["train"]

    def filtered(image, strength):
        h = strength * noise_of(image)
        return denoise_nl_means(image, patch_size=keys["patch_size"], patch_distance=keys["patch_distance"], h=h, fast_mode=True)

    errors = [sum(((filtered(low, strength) - full) ** 2).sum() for low, full in pairs) for strength in keys["strengths"]]
    np.testing.assert_allclose(method.errors, errors, rtol=1e-5)
    best = keys["strengths"][int(np.argmin(errors))]
    assert best not in (keys["strengths"][0], keys["strengths"][-1])
    unseen = head(shape, 0.3, 7)[1]
    np.testing.assert_array_equal(restored(method, unseen), filtered(unseen, best))


def test_noise_is_that_of_the_head_not_of_the_air():
    ball, noisy = head((30, 30, 30), 0.2)
    assert noise_of(noisy) == pytest.approx(0.2, rel=0.3)  # the ball's edge adds some
    assert noise_of(np.pad(noisy, 20)) == pytest.approx(noise_of(noisy), rel=0.02)
    assert noise_of(ball) == 0
    np.testing.assert_array_equal(restored(trained("nlm", [(noisy, ball)]), ball), ball)


@pytest.mark.parametrize("name", ["gaussian", "nlm"])
def test_filters_follow_the_level_come_back_from_their_weights_and_look_at_nothing_else(name):
    pairs = [head((12, 12, 12), 0.3, seed)[::-1] for seed in range(2)]
    method = trained(name, pairs)
    low_dose = tensor(pairs[0][0])
    assert method.optimised() == {}
    assert list(method.parameters()) == []
    once = method.restore(low_dose, None)
    torch.testing.assert_close(method.restore(2 * low_dose, torch.rand_like(low_dose)), 2 * once)
    torch.testing.assert_close(method.restore(torch.cat([low_dose] * 3), None)[2:], once)
    other = build(name, entry(name)["train"])
    other.load_weights(method.weights())
    assert torch.equal(other.restore(low_dose, None), once)
    with pytest.raises(InputError, match="needs low_dose"):
        method.restore(None, low_dose)


@pytest.mark.parametrize("name", ["gaussian", "nlm"])
def test_a_filter_sees_each_image_once(name):
    train = {key: value for key, value in entry(name)["train"].items() if key != "epochs"}
    with pytest.raises(InputError, match="give epochs 1 and no steps"):
        build(name, train | {"steps": 10})


def test_widths_rise():
    with pytest.raises(InputError, match="do not rise"):
        build("gaussian", entry("gaussian")["train"] | {"widths": [1.0, 0.5]})
