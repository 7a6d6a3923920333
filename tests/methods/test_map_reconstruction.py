"""MAP reconstruction: its strength is the training people's, its image the optimum's, and what it gains on people it never saw."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from petbench.errors import InputError
from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.physics.penalised import Penalised, penalised
from petbench.physics.penalties import bowsher, relative_difference
from petbench.physics.reconstruction import osem
from petbench.training.probes import Phantoms

from .entries import entry

SPATIAL = (18, 18, 6)
STRENGTHS = [0.1, 0.2, 1.0]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    torch.set_num_threads(1)


def heads(count, seed):
    return Phantoms(SPATIAL, count, seed, scanned=True).windows(0.5)


def made(name, **change):
    own = entry(name)
    return build(own["module"], own["train"] | change)


def restored(method, batch, **other):
    given = batch | other
    return method.restore(given["low_dose"], given["mr"], acquisition=given["acquisition"])


def psnr(image, truth):
    return float(10 * torch.log10(truth.square().amax((1, 2, 3, 4)) / (image - truth).square().mean((1, 2, 3, 4))).mean())


@pytest.fixture(scope="module")
def people():
    """Two heads to choose by, three held out, and each method after it was shown the two one by one."""
    known, unseen = heads(2, 1), heads(3, 2)
    methods = {}
    for name in ("map_rdp", "map_bowsher"):
        methods[name] = made(name, strengths=STRENGTHS)
        for person in range(2):
            one = {kind: known[kind][person : person + 1] for kind in ("mr", "acquisition", "standard_dose")}
            assert list(methods[name].losses(one, Progress(0, 1))) == []
    return methods, known, unseen


@pytest.mark.parametrize("name", ["map_rdp", "map_bowsher"])
def test_the_strength_is_that_of_the_least_error_on_the_training_people(people, name):
    methods, known, unseen = people
    method, keys = methods[name], entry(name)["train"]
    settings = {key: value for key, value in keys["reconstruction"].items() if key not in ("iterations", "subsets")}

    def reconstructed(batch, strength, person):
        model, counts = list(batch["acquisition"].stacks())[person]
        anatomy = batch["mr"][person, 0].numpy()
        penalty = relative_difference((4.0,) * 3) if name == "map_rdp" else bowsher(anatomy, (4.0,) * 3, 9)
        return penalised(model, counts, penalty, Penalised(strength, **settings), 50, 6)

    truth = known["standard_dose"][:, 0].numpy()
    errors = [sum(((reconstructed(known, s, n) - truth[n]) ** 2).sum() for n in range(2)) for s in STRENGTHS]
    np.testing.assert_allclose(method.errors, errors, rtol=1e-4)
    chosen = STRENGTHS[int(np.argmin(errors))]
    assert method.chosen[0].strength == chosen
    found = restored(method, unseen)
    np.testing.assert_allclose(found[1, 0], reconstructed(unseen, chosen, 1), rtol=1e-5, atol=1e-6)


def test_gammas_are_chosen_too(people):
    _, known, _ = people
    method = made("map_rdp", strengths=[0.1], gammas=[0.0, 2.0, 20.0])
    list(method.losses(known, Progress(0, 1)))
    apart = []
    for gamma in (0.0, 2.0, 20.0):
        one = made("map_rdp", strengths=[0.1], gammas=[gamma])
        list(one.losses(known, Progress(0, 1)))
        apart.append(float(one.errors))
    np.testing.assert_allclose(method.errors, apart)
    assert len(set(apart)) == 3
    assert method.chosen[1] == (0.0, 2.0, 20.0)[int(np.argmin(apart))]


@pytest.mark.parametrize("name", ["map_rdp", "map_bowsher"])
def test_its_iterations_are_enough(people, name):
    """The objective lies within 1e-4 of itself from that of many more passes.

    That these end in the optimum of a literal method is held in `tests/physics/test_penalised.py`.
    """
    methods, _, unseen = people
    settings, gamma = methods[name].chosen
    model, counts = next(unseen["acquisition"].stacks())
    penalty = methods[name]._penalty(unseen["mr"][0, 0].numpy(), (4.0,) * 3, gamma)
    values = {}
    for label, iterations in (("own", 50), ("reference", 250)):
        penalised(
            model,
            counts,
            penalty,
            settings,
            iterations,
            6,
            callback=lambda _, __, value, to=label: values.update({to: value}),
            at=[iterations],
        )
    gap = (values["reference"] - values["own"]) / abs(values["reference"])
    assert 0 <= gap < 1e-4


def test_it_beats_the_best_gaussian_of_osem_on_people_held_out(people):
    """The filter's width is the best on those held out, which flatters it."""
    methods, _, unseen = people
    truth = unseen["standard_dose"]
    plain = np.stack([osem(model, counts, 3, 6) for model, counts in unseen["acquisition"].stacks()])[:, None]
    filtered = max(
        psnr(torch.from_numpy(gaussian_filter(plain, (0, 0, width, width, width))), truth) for width in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2)
    )
    assert psnr(restored(methods["map_rdp"], unseen), truth) > filtered + 0.1
    assert psnr(restored(methods["map_bowsher"], unseen), truth) > filtered + 1


def test_bowsher_reads_its_own_persons_mr_and_the_other_none(people):
    methods, _, unseen = people
    truth, other = unseen["standard_dose"], unseen["mr"].roll(1, 0)
    assert psnr(restored(methods["map_bowsher"], unseen, mr=other), truth) < psnr(restored(methods["map_bowsher"], unseen), truth) - 1
    assert torch.equal(restored(methods["map_rdp"], unseen, mr=None), restored(methods["map_rdp"], unseen, mr=other))
    with pytest.raises(InputError, match="needs mr"):
        restored(methods["map_bowsher"], unseen, mr=None)


@pytest.mark.parametrize("name", ["map_rdp", "map_bowsher"])
def test_its_level_follows_the_counts(people, name):
    methods, _, unseen = people
    once = restored(methods[name], unseen)
    twice = restored(methods[name], unseen, acquisition=2.0 * unseen["acquisition"])
    torch.testing.assert_close(twice, 2 * once, rtol=1e-3, atol=1e-4)
    assert float(once.sum() / unseen["standard_dose"].sum()) == pytest.approx(1.0, rel=0.1)


def test_a_scan_without_counts_holds_nothing(people):
    methods, _, unseen = people
    assert not restored(methods["map_rdp"], unseen, acquisition=0.0 * unseen["acquisition"]).any()


def test_it_sees_each_scan_once_and_wants_its_numbers_in_range():
    with pytest.raises(InputError, match="give epochs 1 and no steps"):
        made("map_rdp", epochs=None, steps=10)
    with pytest.raises(InputError, match="penalty/similar: 30 of 26"):
        made("map_bowsher", similar=30)
