"""Kernels predicted once for all scans of a subject."""

import numpy as np
import pytest

from petbench.errors import InputError
from petbench.positron_range.strategies import strategy_operator

SETTINGS = {"batch": 64, "crop": 0.01}


@pytest.fixture(scope="module")
def made(small_torso, weights_file, kernel_file, tmp_path_factory):
    """An operator, and the file of its predicted kernels."""
    path = tmp_path_factory.mktemp("kernels") / "kernels.h5"
    return operator(small_torso, weights_file, kernel_file, keep=path), path


def operator(torso, weights, kernels, mu=None, settings=None, keep=None, **files):
    attenuation = torso.mu if mu is None else mu
    sources = {"weights": weights, "kernels": kernels, **files}
    return strategy_operator("ddconv", attenuation, torso.voxel_mm, "Ga68", sources, settings or SETTINGS, threads=1, keep=keep)


def test_kernels_of_a_file_are_those_predicted(made, small_torso, weights_file, kernel_file, monkeypatch):
    fresh, path = made
    monkeypatch.setattr("petbench.positron_range.ddconv.predicted_kernels", None)  # nothing is predicted again
    again = operator(small_torso, weights_file, kernel_file, predicted=path)
    np.testing.assert_array_equal(again(small_torso.activity), fresh(small_torso.activity))
    np.testing.assert_array_equal(again.adjoint(small_torso.activity), fresh.adjoint(small_torso.activity))


def test_voxels_beyond_the_memory_stay_so(small_torso, weights_file, kernel_file, made, tmp_path):
    fresh, _ = made
    short = SETTINGS | {"memory_mb": fresh.memory_mb / 3}
    path = tmp_path / "kernels.h5"
    operator(small_torso, weights_file, kernel_file, settings=short, keep=path)
    again = operator(small_torso, weights_file, kernel_file, settings=short, predicted=path)
    assert again.unstored is not None
    np.testing.assert_allclose(again(small_torso.activity), fresh(small_torso.activity), rtol=1e-4, atol=1e-2)


def test_kernels_of_another_subject_predictor_or_setting_are_refused(made, small_torso, weights_file, kernel_file, untrained, tmp_path):
    _, path = made
    mirrored = small_torso.mu[::-1].copy()
    for case in ({"mu": mirrored}, {"settings": SETTINGS | {"crop": 0.0}}):
        with pytest.raises(InputError, match="another attenuation, predictor or setting"):
            operator(small_torso, weights_file, kernel_file, predicted=path, **case)
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="no readable set of predicted kernels"):
        operator(small_torso, weights_file, kernel_file, predicted=tmp_path / "cut.h5")
