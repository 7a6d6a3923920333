"""Kernels predicted once for all scans of a subject."""

import numpy as np
import pytest

from petbench.errors import InputError
from petbench.physics.materials import material
from petbench.positron_range.kernel_files import read_kernels, write_kernels
from petbench.positron_range.strategies import strategy_operator

SETTINGS = {"batch": 64, "crop": 0.01}


@pytest.fixture(scope="module")
def mu():
    """Lung in front of water, and a rib."""
    attenuation = np.full((14, 14, 14), material("water").mu_per_cm, dtype=np.float32)
    attenuation[:7] = material("lung").mu_per_cm
    attenuation[10, 4:8, 5] = material("rib_bone").mu_per_cm
    return attenuation


@pytest.fixture(scope="module")
def operator(mu, weights_file, kernel_file):
    def make(settings=SETTINGS, attenuation=mu, keep=None, **files):
        sources = {"weights": weights_file, "kernels": kernel_file, **files}
        return strategy_operator("ddconv", attenuation, (2.0, 2.0, 2.0), "Ga68", sources, settings, threads=1, keep=keep)

    return make


@pytest.fixture(scope="module")
def made(operator, tmp_path_factory):
    """An operator, and the file of its predicted kernels."""
    path = tmp_path_factory.mktemp("kernels") / "kernels.h5"
    return operator(keep=path), path


def test_kernels_of_a_file_are_those_predicted(made, operator, mu, monkeypatch):
    fresh, path = made
    monkeypatch.setattr("petbench.positron_range.ddconv.predicted_kernels", None)  # nothing is predicted again
    again, image = operator(predicted=path), np.random.default_rng(1).random(mu.shape, dtype=np.float32)
    assert len(fresh.blocks) > 0
    np.testing.assert_array_equal(again(image), fresh(image))
    np.testing.assert_array_equal(again.adjoint(image), fresh.adjoint(image))


def test_voxels_beyond_the_memory_are_kept_in_mind(made, tmp_path):
    fresh, _ = made
    left = np.array([3, 5, 8])
    write_kernels(tmp_path / "kernels.h5", fresh.blocks[:1], left, "one")
    blocks, again = read_kernels(tmp_path / "kernels.h5", "one")
    assert len(blocks) == 1
    np.testing.assert_array_equal(again, left)
    np.testing.assert_array_equal(blocks[0].roots, fresh.blocks[0].roots)


def test_kernels_of_another_subject_or_setting_are_refused(made, operator, mu, tmp_path):
    _, path = made
    for case in ({"attenuation": mu[::-1].copy()}, {"settings": SETTINGS | {"crop": 0.0}}):
        with pytest.raises(InputError, match="another attenuation, predictor or setting"):
            operator(predicted=path, **case)
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="no readable set of predicted kernels"):
        operator(predicted=tmp_path / "cut.h5")
