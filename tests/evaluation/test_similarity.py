import math

import numpy as np
import pytest

from petbench.errors import InputError
from petbench.evaluation.similarity import cka_matrix, linear_cka, unbiased_hsic


@pytest.fixture
def layer():
    return np.random.default_rng(8).normal(size=(30, 12))


def test_cka_is_one_up_to_rotation_scale_and_shift(layer):
    rotation, _ = np.linalg.qr(np.random.default_rng(9).normal(size=(12, 12)))
    assert linear_cka(layer, layer) == pytest.approx(1)
    assert linear_cka(layer, 7 * layer @ rotation + 3) == pytest.approx(1)
    assert linear_cka(layer, layer[:, ::-1].reshape(30, 3, 4)) == pytest.approx(1)


def test_cka_is_symmetric_and_falls_with_noise(layer):
    noise = np.random.default_rng(10).normal(size=layer.shape)
    values = [linear_cka(layer, layer + level * noise) for level in (0.2, 1, 5)]
    assert values[0] > values[1] > values[2]
    assert linear_cka(layer + noise, layer) == pytest.approx(linear_cka(layer, layer + noise))


def test_unbiased_hsic_is_the_mean_over_tuples_of_distinct_samples():
    # Song et al. 2012, eq. 4: E[k_ij m_ij + k_ij m_qr - 2 k_ij m_iq] over distinct i, j, q, r.
    rng = np.random.default_rng(12)
    k, m = (kernel @ kernel.T for kernel in rng.normal(size=(2, 6, 3)))
    distinct = [(i, j, q, r) for i in range(6) for j in range(6) for q in range(6) for r in range(6) if len({i, j, q, r}) == 4]
    literal = np.mean([k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in distinct])
    assert unbiased_hsic(k, m) == pytest.approx(literal)


def test_independent_layers_with_more_features_than_samples_do_not_look_alike():
    rng = np.random.default_rng(13)
    values = [linear_cka(rng.normal(size=(12, 500)), rng.normal(size=(12, 400))) for _ in range(50)]
    assert np.mean(values) == pytest.approx(0, abs=0.05)


def test_matrix_has_a_row_a_layer(layer):
    matrix = cka_matrix([layer, layer[:, :4]], [layer[:, :6], layer, layer[:, :2]])
    assert matrix.shape == (2, 3)
    assert matrix[0, 1] == pytest.approx(1)
    assert matrix[1, 0] == pytest.approx(linear_cka(layer[:, :4], layer[:, :6]))


def test_a_constant_layer_has_no_alignment_and_few_samples_are_refused(layer):
    assert math.isnan(linear_cka(layer, np.ones((30, 5))))
    with pytest.raises(InputError, match="samples"):
        linear_cka(layer, layer[:-1])
    with pytest.raises(InputError, match="samples"):
        linear_cka(layer[:3], layer[:3])
