import pytest
import torch

from petbench.errors import InputError
from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.networks.patchgan import MultiScaleDiscriminator, PatchDiscriminator

from .entries import tiny

TRAIN = tiny("pix2pixhd")


def images(seed=0):
    return torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_a_judge_gives_the_features_of_its_layers_and_its_logits():
    judge = PatchDiscriminator(2, in_channels=2, channels=4, layers=2, normalisation="instance")
    pair = torch.rand(1, 2, 32, 32)
    *features, logits = judge.features(pair)
    assert [tuple(feature.shape[1:]) for feature in features] == [(4, 16, 16), (8, 8, 8), (16, 7, 7)]
    assert torch.equal(logits, judge(pair))


def test_each_judge_sees_half_the_resolution_of_the_one_before():
    torch.manual_seed(0)
    judges = MultiScaleDiscriminator(2, 2, in_channels=1, channels=4, layers=1, normalisation="none")
    checks = torch.ones(1, 1, 64, 64)
    checks[..., ::2, 1::2] = checks[..., 1::2, ::2] = -1  # finer than the second judge's grid
    with torch.no_grad():
        seen, blank = judges(checks), judges(0 * checks)
    fine, coarse = (float((seen[scale][-1] - blank[scale][-1])[..., 4:-4, 4:-4].abs().mean()) for scale in (0, 1))
    assert coarse < 0.2 * fine


def test_the_matching_term_alone_teaches_the_generator_from_the_features():
    """With judges that are left as they are, generators brought nearer by features are nearer in the image, too."""
    torch.manual_seed(0)
    method = build("pix2pixhd", TRAIN)
    batch = {"low_dose": images(1), "standard_dose": images(1)}
    optimiser = torch.optim.Adam(method.generator.parameters(), lr=3e-3)

    def apart():
        return float((method.restore(batch["low_dose"], None) - batch["standard_dose"]).abs().mean())

    first, matching = apart(), []
    for _ in range(60):
        _, generate = method.losses(batch, Progress(0, 1))
        generate.loss.backward()
        matching.append(float(generate.logs["matching"]))
        optimiser.step()
        optimiser.zero_grad()
    assert matching[-1] < 0.6 * matching[0]
    assert apart() < 0.8 * first


def test_images_are_mapped_to_the_range_and_back():
    method = build("pix2pixhd", TRAIN)
    method.generator = torch.nn.Identity()
    pet = 2 * images()
    torch.testing.assert_close(method.restore(pet, None), pet)


def test_a_range_must_ascend():
    with pytest.raises(InputError, match=r"train/range: 2\.0 is not below 0\.0"):
        build("pix2pixhd", TRAIN | {"range": [2.0, 0.0]})
