import copy

import pytest
import torch

from petbench.errors import InputError
from petbench.methods.adversarial import ImagePool
from petbench.methods.base import Progress

from .test_methods import a_batch, make, optimisers, train_step


def test_each_loss_reaches_its_own_network_only():
    method = make("mak_gan")
    networks = {"discriminator": method.discriminator, "generator": method.generator}
    for step in method.losses(a_batch(), Progress(0, 1)):
        method.zero_grad()
        step.loss.backward()
        for name, network in networks.items():
            reached = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters()]
            assert any(reached) if name == step.optimiser else not any(reached), f"{step.optimiser} -> {name}"
    assert all(p.requires_grad for p in method.parameters())


def test_the_generator_meets_the_updated_discriminator():
    method, batch = make("mak_gan", image_pool=0), a_batch()
    steps = method.losses(batch, Progress(0, 1))
    next(steps)
    with torch.no_grad():
        for parameter in method.discriminator.parameters():
            parameter.zero_()
    torch.testing.assert_close(next(steps).logs["adversarial"], torch.tensor(2.0).log())


def test_pool_passes_new_images_until_full_then_trades_them():
    pool = ImagePool(3)
    stream = torch.arange(40.0).reshape(40, 1, 1, 1)
    assert torch.equal(pool(stream[:3]), stream[:3])
    judged = torch.cat([pool(stream[i : i + 1]) for i in range(3, 40)]).flatten()
    older = judged < torch.arange(3.0, 40.0)
    assert 8 < older.sum() < 29
    assert len(judged[older].unique()) == older.sum()
    assert sorted(judged.tolist() + pool.images.flatten().tolist()) == list(range(40))


def test_pool_of_none_passes_everything():
    images = torch.rand(4, 2, 5, 5)
    assert ImagePool(0)(images) is images


def test_a_resumed_training_equals_an_uninterrupted_one():
    batches = [a_batch() for _ in range(6)]
    whole = make("mak_gan", image_pool=2)
    optimised = optimisers(whole)
    for batch in batches[:4]:
        train_step(whole, batch, optimised)
    saved = copy.deepcopy(whole.state_dict())
    saved_optimisers = {name: copy.deepcopy(optimiser.state_dict()) for name, optimiser in optimised.items()}
    assert saved["pool.images"].shape == (2, 2, 16, 16, 16)

    resumed = make("mak_gan", image_pool=2)
    resumed.load_state_dict(saved)
    resumed_optimisers = optimisers(resumed)
    for name, state in saved_optimisers.items():
        resumed_optimisers[name].load_state_dict(state)
    random_state = torch.random.get_rng_state()
    for batch in batches[4:]:
        train_step(resumed, batch, resumed_optimisers)
    torch.random.set_rng_state(random_state)
    for batch in batches[4:]:
        train_step(whole, batch, optimised)
    ours, theirs = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_weights_hold_no_images_and_restore_alike():
    method, batch = make("mak_gan"), a_batch()
    train_step(method, batch, optimisers(method))
    weights = method.weights()
    assert not any(name.startswith("pool") for name in weights)
    other = make("mak_gan")
    other.load_weights(weights)
    restored = (m.eval().restore(batch["low_dose"], batch["mr"]) for m in (method, other))
    assert torch.equal(*restored)


@pytest.mark.parametrize(("other", "message"), [("mak_gan-a", "only in"), ("mak_gan", "where the network has")])
def test_weights_of_another_network_are_refused(other, message):
    change = {} if other == "mak_gan-a" else {"network": {"decoder": [8, 4]}}
    with pytest.raises(InputError, match=message):
        make("mak_gan").load_weights(make(other, **change).weights())
