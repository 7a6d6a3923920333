"""TPA-GAN: its stages, the pyramid, the shared residual block, and what the classifier of the diagnosis does to generated PET."""

import contextlib
import copy

import pytest
import torch
from skimage.metrics import structural_similarity

from petbench.errors import InputError
from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.methods.tpa_gan import Stages, balanced
from petbench.networks.ms_ssim import slice_ssim
from petbench.networks.tpa_generator import TPAGenerator
from petbench.training.fit import fit_model

from .entries import merged, tiny

SIDE = 16
THIRDS = {"reconstruction": 1 / 3, "adversarial": 1 / 3}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def people(count, seed):
    """Heads of which every second is ill: one place is dark in its PET, and in its MR."""
    random = torch.Generator().manual_seed(seed)
    axes = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, SIDE)] * 3, indexing="ij"))
    head = (axes.square().sum(0) < 0.8).float()
    place = ((axes - torch.tensor([0.3, 0.0, 0.0]).view(3, 1, 1, 1)).square().sum(0) < 0.1).float()
    ill = (torch.arange(count) % 2).float()
    lost = 1 - 0.5 * ill.view(-1, 1, 1, 1, 1) * place
    bright = 0.8 + 0.2 * torch.rand(count, 1, 1, 1, 1, generator=random)

    def noise():
        return 0.03 * torch.randn(count, 1, SIDE, SIDE, SIDE, generator=random)

    return {"mr": head * bright * lost + noise(), "standard_dose": 0.8 * head * lost + noise(), "diagnosis": ill}


def make(**change):
    torch.manual_seed(0)
    return build("tpa_gan", merged(tiny("tpa_gan"), change)).train()


def steps_of(method, batch, step, steps):
    return list(method.losses(batch, Progress(step, steps)))


def test_each_stage_has_its_losses_and_optimisers():
    method, batch = make(stages=THIRDS), people(2, 0)
    seen = []
    for step in range(6):
        updates = steps_of(method, batch, step, 6)
        seen.append(([update.optimiser for update in updates], set(updates[-1].logs)))
    assert seen[0] == seen[1] == (["classifier", "generator"], {"reconstruction"})
    assert seen[2] == seen[3] == (["classifier", "discriminator", "generator"], {"reconstruction", "adversarial"})
    assert seen[4] == seen[5] == (["generator"], {"reconstruction", "task"})


@pytest.mark.parametrize(("steps", "last_of_first", "last_of_second"), [(10, 2, 5), (7, 2, 4), (300, 89, 179)])
def test_a_stage_lasts_for_its_share(steps, last_of_first, last_of_second):
    stages = Stages(0.3, 0.3)
    found = [stages.at(Progress(step, steps)) for step in range(steps)]
    assert found == sorted(found, key=["reconstruction", "adversarial", "task"].index)
    assert found.index("adversarial") == last_of_first + 1
    assert found.index("task") == last_of_second + 1


class CutError(Exception):
    """A training was interrupted."""


class People:
    def __init__(self, cut_at=None):
        self.cut_at, self.read = cut_at, 0

    def batch(self, numbers):
        self.read += 1
        if self.read == self.cut_at:
            raise CutError
        return people(2, numbers[0])

    def __len__(self):
        return 9


def trained(folder, out, cut_at=None):
    weights = {}
    train = merged(tiny("tpa_gan"), {"stages": THIRDS, "batch_size": 1, "steps": 6})
    train.pop("epochs")
    files = {"history": str(out / "history.tsv"), "cost": str(out / "cost.json")}
    keep = lambda method: weights.update(method.weights())  # noqa: E731
    fit_model(lambda: build("tpa_gan", train), People(cut_at), train, {}, out / folder, "cpu", 1, files, keep, 0)
    return weights


def test_a_training_cut_inside_a_stage_or_at_its_border_ends_as_one_that_is_not(tmp_path):
    whole = trained("whole", tmp_path)
    for cut_at in (2, 3, 4, 5, 6):  # before the second step, and so on: the stages begin with the first, third and fifth
        with contextlib.suppress(CutError):
            trained(f"cut-{cut_at}", tmp_path, cut_at)
        torch.rand(3)
        resumed = trained(f"cut-{cut_at}", tmp_path)
        assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


def learn(method, batch, steps, of):
    optimisers = {name: torch.optim.Adam(list(parameters), lr=3e-3) for name, parameters in method.optimised().items()}
    for step in steps:
        for update in method.losses(batch, Progress(step, of)):
            optimisers[update.optimiser].zero_grad()
            update.loss.backward()
            optimisers[update.optimiser].step()


@torch.no_grad()
def told_apart(method, batch):
    """By how much the classifier scores generated PET of the ill higher than that of the others."""
    scores = method.classifier(method.restore(None, batch["mr"]))
    return float(scores[batch["diagnosis"] > 0].mean() - scores[batch["diagnosis"] == 0].mean())


def test_the_task_stage_sets_the_groups_scores_apart_in_people_held_out():
    train, held_out, steps = people(6, 1), people(8, 2), 40
    method = make(stages={"reconstruction": 0.25, "adversarial": 0.25}, loss={"levels": 1.0})
    learn(method, train, range(steps // 2), steps)
    before = told_apart(method, held_out)
    without = copy.deepcopy(method)
    without.loss_weights["task"] = 0.0
    fixed = {name: parameter.clone() for name, parameter in method.classifier.named_parameters()}
    for trained in (method, without):
        learn(trained, train, range(steps // 2, steps), steps)
    assert all(torch.equal(parameter, fixed[name]) for name, parameter in method.classifier.named_parameters())
    assert told_apart(method, held_out) > 0.5 + max(before, told_apart(without, held_out))


@torch.no_grad()
@pytest.mark.parametrize(("branch", "reach"), enumerate((2, 4, 6)))
def test_each_branch_of_the_pyramid_sees_as_far_as_its_kernels_and_shapes_the_image(branch, reach):
    torch.manual_seed(0)
    network = TPAGenerator([2, 4], [8, 8], 1)
    point = torch.zeros(1, 1, SIDE, SIDE, SIDE)
    point[..., 8, 8, 8] = 1
    changed = (network.down[0].branches[branch](point) - network.down[0].branches[branch](0 * point)).abs().amax(dim=(0, 1))
    assert [int(places.max() - 8) for places in changed.nonzero().T] == [reach] * 3
    mr = people(2, 0)["mr"]
    image = network(mr)
    network.down[0].branches[branch][2].weight.zero_()
    network.down[0].branches[branch][2].bias.zero_()
    assert float((network(mr) - image).norm() / image.std()) > 0.01


def test_residual_blocks_share_their_weights_and_each_adds():
    networks = []
    for blocks in (0, 1, 6):
        torch.manual_seed(0)
        networks.append(TPAGenerator([2, 4], [8, 8], blocks))
    assert len({sum(parameter.numel() for parameter in network.parameters()) for network in networks}) == 1
    images = [network(people(2, 0)["mr"]) for network in networks]
    assert not torch.equal(images[0], images[1])
    assert not torch.equal(images[1], images[2])


@torch.no_grad()
def test_the_gate_weighs_the_last_features():
    torch.manual_seed(0)
    network, mr = TPAGenerator([2, 4], [8, 8], 1), people(2, 0)["mr"]
    image = network(mr)
    network.gate[2].weight.zero_()
    network.gate[2].bias.fill_(-100)
    shut = network(mr)
    assert float(image.std()) > 0
    torch.testing.assert_close(shut, network.last.bias.view(1, 1, 1, 1, 1).expand_as(shut))


@pytest.mark.parametrize("shape", [(15, 15, 15), (16, 19, 22), (64, 17, 30)])
def test_any_grid_comes_back_as_it_went_in(shape):
    network = TPAGenerator([1, 1], [2, 2], 1)
    assert network(torch.rand(1, 1, *shape)).shape == (1, 1, *shape)


def test_ssim_of_slices_is_that_of_each_axial_slice_in_whole_windows():
    first, second = (people(1, seed)["standard_dose"] for seed in (0, 1))
    expected = []
    for number in range(SIDE):
        pair = [image[0, 0, :, :, number].double().numpy() for image in (first, second)]
        similar = structural_similarity(*pair, data_range=1, gaussian_weights=True, use_sample_covariance=False, full=True)[1]
        expected.append(similar[5:-5, 5:-5].mean())
    assert float(slice_ssim(first, second)) == pytest.approx(sum(expected) / SIDE, abs=1e-4)


@pytest.mark.parametrize(("error", "factors"), [(0.1, (10, 1, 1000)), (0.001, (1, 1, 1))])
def test_losses_on_the_image_are_brought_to_one_order_of_magnitude(error, factors):
    truth = torch.full((2, 1, SIDE, SIDE, SIDE), 0.5)
    made = truth + error
    losses = [255 * error, (255 * error) ** 2, 1 - float(slice_ssim(made, truth).mean())]
    loss = float(balanced(made, truth, 255))
    largest = max(losses)
    each = [next(10**power for power in range(9, -1, -1) if value * 10**power <= largest * (1 + 1e-6)) for value in losses]
    assert loss == pytest.approx(sum(one * value for one, value in zip(each, losses, strict=True)), rel=1e-3)
    assert tuple(each)[:2] == factors[:2]


def test_without_a_weight_for_the_task_there_is_no_classifier_and_the_diagnosis_is_not_needed():
    train = merged(tiny("tpa_gan"), {"loss": {"task": 0.0}})
    del train["supervision"]
    method = build("tpa_gan", train)
    assert "classifier" not in method.optimised()
    batch = people(2, 0)
    del batch["diagnosis"]
    (update,) = steps_of(method, batch, 9, 10)
    assert set(update.logs) == {"reconstruction"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"supervision": []}, "train/supervision: the task learns from the diagnosis; add it there"),
        ({"stages": {"reconstruction": 0.6, "adversarial": 0.6}}, "train/stages: the shares 0.6 and 0.6 are more than all"),
        ({"network": {"deep": [8]}}, "network/deep: 1 widths; give two"),
    ],
)
def test_what_cannot_be_trained_is_one_line(change, message):
    with pytest.raises(InputError, match=message) as caught:
        make(**change)
    assert "\n" not in str(caught.value)


def test_a_window_too_small_to_pool_and_a_person_without_a_label_are_one_line():
    with pytest.raises(InputError, match="window: 16x14x16 cannot be pooled three times; make every side 15 voxels or more"):
        make().restore(None, torch.rand(1, 1, 16, 14, 16))
    batch = people(2, 0)
    del batch["diagnosis"]
    with pytest.raises(InputError, match="train/supervision: this method learns from the diagnosis"):
        steps_of(make(), batch, 0, 3)


def test_restoring_looks_at_no_classifier():
    method, mr = make().eval(), people(2, 0)["mr"]
    image = method.restore(None, mr)
    with torch.no_grad():
        for parameter in [*method.classifier.parameters(), *method.discriminator.parameters()]:
            parameter.fill_(torch.nan)
    torch.testing.assert_close(method.restore(None, mr), image, rtol=0, atol=0)
