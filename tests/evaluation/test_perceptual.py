import numpy as np
import pytest
import torch
from torch.nn import functional as F

from petbench.errors import InputError
from petbench.evaluation.perceptual import frame_lpips, load_lpips, slice_lpips

SHAPES = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files in the published form, with values of our own."""
    folder = tmp_path_factory.mktemp("weights")
    generator = torch.Generator().manual_seed(0)
    alexnet = {f"features.{n}.weight": 0.05 * torch.randn(shape, generator=generator) for n, shape in SHAPES.items()}
    alexnet |= {f"features.{n}.bias": 0.1 * torch.randn(shape[0], generator=generator) for n, shape in SHAPES.items()}
    linear = {f"lin{k}.model.1.weight": torch.rand(1, shape[0], 1, 1, generator=generator) for k, shape in enumerate(SHAPES.values())}
    torch.save(alexnet | {"classifier.1.weight": torch.zeros(3)}, folder / "alexnet.pth")
    torch.save(linear, folder / "linear.pth")
    return folder / "alexnet.pth", folder / "linear.pth"


def literal(files, first, second):
    """The metric written out, layer by layer."""
    alexnet, linear = (torch.load(path, weights_only=True) for path in files)
    features = []
    for image in (first, second):
        x = torch.stack([(image - shift) / scale for shift, scale in zip((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450), strict=True)])[
            None
        ]
        maps = []
        for n in SHAPES:
            x = F.max_pool2d(x, kernel_size=3, stride=2) if n in (3, 6) else x
            options = {0: (4, 2), 3: (1, 2)}.get(n, (1, 1))
            x = F.conv2d(x, alexnet[f"features.{n}.weight"], alexnet[f"features.{n}.bias"], *options).clamp(min=0)
            maps.append(x[0] / torch.sqrt((x[0] ** 2).sum(0) + 1e-20))
        features.append(maps)
    weights = [linear[f"lin{k}.model.1.weight"].flatten() for k in range(5)]
    return sum((((a - b) ** 2) * w[:, None, None]).sum(0).mean() for a, b, w in zip(*features, weights, strict=True)).item()


def test_distance_is_the_definition_written_out(files):
    generator = torch.Generator().manual_seed(1)
    first, second = 2 * torch.rand(2, 40, 48, generator=generator) - 1
    distance = load_lpips(*files)(first[None, None], second[None, None])
    assert distance.item() == pytest.approx(literal(files, first, second), rel=1e-4)
    assert load_lpips(*files)(first[None, None], first[None, None]).item() == 0


def test_slices_are_scaled_masked_and_averaged(files):
    rng = np.random.default_rng(2)
    reference = rng.uniform(0, 20_000, (40, 4, 36))
    estimate = reference + rng.normal(0, 3_000, reference.shape)
    mask = np.ones(reference.shape, bool)
    mask[:10] = False
    network = load_lpips(*files)
    value = slice_lpips(network, estimate, reference, mask, [1, 3], axis=1, data_range=2e4)
    scaled = [torch.tensor(image * mask / 1e4 - 1, dtype=torch.float32) for image in (estimate, reference)]
    assert value == pytest.approx(np.mean([literal(files, *(image[:, y] for image in scaled)) for y in (1, 3)]), rel=1e-4)
    assert slice_lpips(network, np.where(mask, estimate, 7e4), reference, mask, [1, 3], 1, 2e4) == value
    with pytest.raises(InputError, match="too small"):
        slice_lpips(network, estimate[:20], reference[:20], None, [1], 1, 2e4)


def test_frames_stay_between_zero_and_one(files):
    """Each divided by its own range; not brought to [-1, 1], which the network was made for."""
    rng = np.random.default_rng(3)
    frames = [(rng.uniform(0, top, (36, 40)), np.pad(rng.uniform(0, top, (34, 38)), 1)) for top in (2e4, 50.0)]
    network = load_lpips(*files)
    distances = [literal(files, *(torch.tensor(image / frame[1].max(), dtype=torch.float32) for image in frame)) for frame in frames]
    assert frame_lpips(network, frames) == pytest.approx(np.mean(distances), rel=1e-4)
    assert np.isnan(frame_lpips(network, []))
    with pytest.raises(InputError, match="too small"):
        frame_lpips(network, [(np.ones((20, 40)), np.eye(20, 40))])


def test_files_that_are_not_the_weights_are_refused(files, tmp_path):
    alexnet, linear = files
    with pytest.raises(InputError, match="no such file"):
        load_lpips(tmp_path / "none.pth", linear)
    with pytest.raises(InputError, match=r"lacks features\.0\.weight"):
        load_lpips(linear, linear)
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    with pytest.raises(InputError, match="cannot be read"):
        load_lpips(tmp_path / "page.pth", linear)
    torch.save([1.0], tmp_path / "list.pth")
    with pytest.raises(InputError, match="not a state dictionary"):
        load_lpips(alexnet, tmp_path / "list.pth")
