"""How far a scan is from those trained on."""

import numpy as np
import pytest

from petbench.preprocess.likeness import BOUNDS, MEASURES, distances, measure

RNG = np.random.default_rng(0)
x, y, z = np.indices((48, 48, 48))
HEAD = 1.0 * ((x - 23.5) ** 2 + (y - 23.5) ** 2 + (z - 23.5) ** 2 < 18**2)
EDGES = [4.0, 4.0, 4.0]


def scan(sd=0.1, seed=0, mr=0.7, own=(4.0, 4.0, 4.0), inside=1.0):
    noisy = HEAD + sd * np.random.default_rng(seed).normal(size=HEAD.shape)
    return measure(noisy, mr * HEAD, EDGES, own, inside)


def test_every_measure_has_words_and_a_bound():
    assert set(scan()) == set(MEASURES) == set(BOUNDS)
    assert all(bound > 1 for bound in BOUNDS.values())


def test_scans_of_one_kind_are_near():
    trained = [scan(seed=number) for number in (1, 2)]
    assert all(one.factor < 1.1 and not one.beyond for one in distances(scan(), trained))
    assert all(one.factor == 1 for one in distances(trained[0], trained))


@pytest.mark.parametrize(
    ("change", "measure_"),
    [
        ({"sd": 0.25}, "noise"),
        ({"sd": 0.04}, "noise"),
        ({"mr": 0.3}, "mr_level"),
        ({"own": (1.0, 1.0, 1.0)}, "voxel_mm"),
        ({"inside": 0.8}, "head_inside"),
    ],
)
def test_what_differs_is_beyond_its_bound(change, measure_):
    trained = [scan(seed=number) for number in (1, 2)]
    beyond = {one.measure: one for one in distances(scan(**change), trained) if one.beyond}
    assert measure_ in beyond
    assert "times beyond" in str(beyond[measure_])


def test_weights_that_do_not_say_tell_nothing():
    assert distances(scan(), []) == distances(scan(), [{}]) == []
