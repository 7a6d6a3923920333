import pytest
import torch
from scipy.ndimage import sobel

from petbench.errors import InputError
from petbench.methods.base import Progress
from petbench.methods.ea_gan import edge_map
from petbench.networks.edges import sobel_magnitude
from petbench.training.probes import Phantoms, draw, learn

from .test_methods import a_batch, make

LATE = Progress(9, 10)


def seen_by_the_discriminator(method, batch, progress=LATE):
    """What the discriminator is given in a step: real, restored, and restored again for the generator."""
    seen = []
    hook = method.discriminator.register_forward_pre_hook(lambda _, images: seen.append(images[0].detach()))
    for step in method.losses(batch, progress):
        step.loss.backward()
    hook.remove()
    return seen


@pytest.mark.parametrize("dims", [2, 3])
def test_an_edge_map_is_the_authors_sobel_operator(dims):
    """Their kernels are a quarter of whole numbers, as scipy's are; a tangent takes the length of the three to [-1, 1]."""
    image = torch.rand(1, 1, *[9] * dims, dtype=torch.float64) - 0.5
    gradients = torch.stack([torch.from_numpy(sobel(image[0, 0].numpy(), axis, mode="nearest")) for axis in range(dims)])
    scale = 4 if dims == 3 else 1  # a plane lacks one (1, 2, 1) that a volume has
    expected = 2 * torch.tanh(gradients.square().sum(0).sqrt() / scale) - 1
    torch.testing.assert_close(edge_map(image)[0, 0], expected.float())


def edges_after_training(edge_weight):
    """Of heads that were not trained on: how steep they are restored where they have edges, and the error of edges, as shares of the true
    ones, after a short training without a judge."""
    torch.manual_seed(1)
    network = {"spatial_dims": 2, "channels": [16, 32], "dropout": 0.0}
    method = make("ea_gan-g", network=network, loss={"adversarial": 0.0, "edge": edge_weight, "edge_ramp": 0.0})
    heads = Phantoms((32, 32), 16, seed=1)
    learn(method, [heads.windows(1.0) for _ in range(100)], rate=1e-2)
    unseen = Phantoms((32, 32), 16, seed=101).windows(1.0)
    true, ours = (sobel_magnitude(image) for image in (unseen["standard_dose"], draw(method, unseen, ["low_dose"], None)))
    steep = true > 0.1
    return float(ours[steep].mean() / true[steep].mean()), float((ours - true).abs().mean() / true.mean())


def test_edges_sharpen_with_the_edge_term():
    """At five seeds edges were .03 to .07 steeper and 12 to 20 % nearer the true ones."""
    (steep, error), (steep_without, error_without) = (edges_after_training(weight) for weight in (100.0, 0.0))
    assert steep_without + 0.02 < steep < 1
    assert error < 0.93 * error_without


def test_the_discriminator_of_dea_sees_the_edges_of_what_it_judges():
    method, batch = make("ea_gan", image_pool=0), a_batch()
    real, fake, _ = seen_by_the_discriminator(method, batch)
    for seen in (real, fake):
        assert seen.shape[1] == 3
        torch.testing.assert_close(seen[:, 2:], edge_map(seen[:, 1:2]))
        torch.testing.assert_close(seen[:, :1], (2 * batch["low_dose"] - 2.0) / 3)  # [-.5, 2.5] to [-1, 1]
    torch.testing.assert_close(real[:, 1:2], (2 * batch["standard_dose"] - 2.0) / 3)
    assert not torch.equal(real[:, 1:2], fake[:, 1:2])
    assert all(seen.shape[1] == 2 for seen in seen_by_the_discriminator(make("ea_gan-g", image_pool=0), batch))


def test_the_judgement_of_dea_changes_when_only_edges_do():
    """After a short training: other edges beside the same images."""
    method, heads = make("ea_gan"), Phantoms((16, 16, 16), 4, seed=1)
    learn(method, [heads.windows(1.0) for _ in range(5)], rate=1e-3)
    seen = seen_by_the_discriminator(method, heads.windows(1.0))[0]
    blunt = torch.cat([seen[:, :2], edge_map(0.3 * seen[:, 1:2])], dim=1)
    with torch.no_grad():
        sharp_score, blunt_score = (method.discriminator.eval()(images) for images in (seen, blunt))
    assert (sharp_score - blunt_score).abs().mean() > 0.01 * sharp_score.abs().mean()


def test_the_generator_of_dea_learns_from_its_edges():
    """The judge's gradient reaches the image by its edges as well: a judge that looks at nothing else teaches dEa's generator only."""
    method, batch = make("ea_gan", loss={"l1": 0.0, "edge": 0.0}), a_batch()
    with torch.no_grad():
        method.discriminator.layers[0].weight[:, :2] = 0  # of low dose, image, edges
    steps = list(method.losses(batch, LATE))
    steps[1].loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in method.generator.parameters() if parameter.ndim > 1)


def test_the_weight_of_edges_rises_over_the_ramp():
    method = make("ea_gan", loss={"edge": 100.0, "edge_ramp": 0.2})
    weights = [method.weight("edge", Progress(step, 1000)) for step in (0, 50, 100, 199, 200, 999)]
    assert weights == pytest.approx([0.0, 25.0, 50.0, 99.5, 100.0, 100.0])
    assert {method.weight("l1", Progress(step, 1000)) for step in (0, 50, 999)} == {300.0}
    assert make("ea_gan", loss={"edge_ramp": 0.0}).weight("edge", Progress(0, 1000)) == 100.0


def test_the_ramp_reaches_the_loss():
    method, batch = make("ea_gan-g", network={"dropout": 0.0}, loss={"adversarial": 0.0, "edge_ramp": 0.2}), a_batch()
    start, middle, end = (next(iter(method.losses(batch, Progress(step, 10)))) for step in (0, 1, 5))
    assert set(start.logs) == {"l1"}
    for step, weight in ((middle, 50.0), (end, 100.0)):
        torch.testing.assert_close(step.loss.detach(), 300 * step.logs["l1"] + weight * step.logs["edge"])


def test_dropout_is_of_training_alone():
    method, batch = make("ea_gan"), a_batch()
    assert not torch.equal(method.generate(batch["low_dose"], None), method.generate(batch["low_dose"], None))
    method.eval()
    assert torch.equal(method.restore(batch["low_dose"], None), method.restore(batch["low_dose"], None))


def test_images_stay_in_the_range_and_a_range_must_rise():
    method = make("ea_gan", range=[-0.5, 2.5])
    with torch.no_grad():
        method.generator.ups[-1][1].bias += 50
    assert method.restore(a_batch()["low_dose"], None).max() == 2.5
    with pytest.raises(InputError, match="train/range: 2 is not below 1"):
        make("ea_gan", range=[2, 1])


@pytest.mark.parametrize("name", ["ea_gan", "ea_gan-g"])
def test_slices_and_both_modalities(name):
    """The form of MFdiff's table: both networks see PET and MR."""
    method, batch = make(name, network={"spatial_dims": 2}, modalities=["low_dose", "mr"]), a_batch(dims=2)
    real = seen_by_the_discriminator(method, batch)[0]
    assert real.shape[1] == 3 + method.edges_judged
    torch.testing.assert_close(real[:, 1:2], 2 * batch["mr"] - 1)
    method.eval()
    restored = method.restore(batch["low_dose"], batch["mr"])
    assert restored.shape == batch["low_dose"].shape
    assert not torch.equal(restored, method.restore(batch["low_dose"], batch["mr"].flip(-1)))
    with pytest.raises(InputError, match="needs mr"):
        method.restore(batch["low_dose"], None)
