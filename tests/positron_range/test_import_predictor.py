"""The authors' weights: a file of their layout, with numbers drawn at random."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from petbench.errors import InputError
from petbench.positron_range.ddconv import ddconv
from petbench.positron_range.import_predictor import import_predictor
from petbench.positron_range.predictor import load_predictor

WEIGHTS = {"isotope": "Ga-68", "voxel_mm": 2.0, "kernel_size": 11, "source": "point"}
BLOCKS, CHANNELS = 4, 16


def theirs() -> dict[str, torch.Tensor]:
    """A state of `FilterPredictor(2, 16, 1, 4)`: 56,198 numbers."""
    torch.manual_seed(11)
    shapes = {"initial_conv.0.weight": (CHANNELS, 2, 3, 3, 3), "initial_conv.0.bias": (CHANNELS,), "initial_conv.1.weight": (1,)}
    for block in range(BLOCKS):
        for name, shape in (("conv1", (CHANNELS, CHANNELS, 3, 3, 3)), ("act", (1,)), ("conv2", (CHANNELS, CHANNELS, 3, 3, 3))):
            shapes[f"residual_blocks.{block}.{name}.weight"] = shape
    shapes |= {"final_conv.weight": (1, CHANNELS, 1, 1, 1), "final_conv.bias": (1,)}
    state = {name: 0.05 * torch.randn(shape) for name, shape in shapes.items()}
    state["initial_conv.0.weight"] *= 20  # attenuation is small as it comes, in units per cm
    state["final_conv.weight"] *= 10
    assert sum(tensor.numel() for tensor in state.values()) == 56_198
    return state


def their_kernels(state: dict[str, torch.Tensor], mu: torch.Tensor) -> torch.Tensor:
    """What their code makes of media (B, K, K, K) in attenuation per cm: logits of [mu, -distance / largest], then a softmax."""
    size = mu.shape[-1]
    place = torch.arange(size) - size // 2
    distance = (place[:, None, None] ** 2 + place[:, None] ** 2 + place**2).float().sqrt()
    x = torch.stack([mu, (-distance / distance.max()).expand_as(mu)], dim=1)
    x = F.prelu(F.conv3d(x, state["initial_conv.0.weight"], state["initial_conv.0.bias"], padding=1), state["initial_conv.1.weight"])
    for block in range(BLOCKS):
        own = {name: state[f"residual_blocks.{block}.{name}.weight"] for name in ("conv1", "act", "conv2")}
        y = F.conv3d(F.prelu(F.conv3d(x, own["conv1"], padding=1), own["act"]), own["conv2"], padding=1)
        x = F.prelu(y + x, own["act"])
    logits = F.conv3d(x, state["final_conv.weight"], state["final_conv.bias"])
    return logits.flatten(1).softmax(dim=1).reshape(mu.shape)


@pytest.mark.parametrize("kept", ["bare", "checkpoint", "parallel"])
def test_their_kernels_come_out(tmp_path, kept):
    state = theirs()
    parallel = {f"module.{name}": tensor for name, tensor in state.items()}
    saved = {
        "bare": state,
        "checkpoint": {"model_state_dict": state, "epoch": 5000},
        "parallel": parallel,
    }
    torch.save(saved[kept], tmp_path / "fpred_model_11.pth")
    import_predictor({**WEIGHTS, "file": str(tmp_path / "fpred_model_11.pth")}, tmp_path / "model.safetensors")
    predictor = load_predictor(tmp_path / "model.safetensors", isotope="68Ga", voxel_mm=(2.0, 2.0, 2.0), kernel_size=11)
    mu = torch.tensor([0.0247, 0.0959, 0.171])[torch.randint(3, (4, 11, 11, 11))]
    expected = their_kernels(state, mu)
    assert expected.amax() > 0.01  # neither flat
    assert (expected[0] - expected[1]).abs().max() > 1e-3  # nor all alike
    torch.testing.assert_close(predictor.kernels(mu), expected, rtol=0, atol=1e-6)


def test_their_operator_takes_maps_to_their_materials(tmp_path):
    torch.save(theirs(), tmp_path / "theirs.pth")
    import_predictor({**WEIGHTS, "file": str(tmp_path / "theirs.pth")}, tmp_path / "model.safetensors")
    predictor = load_predictor(tmp_path / "model.safetensors")
    assert predictor.description.materials == {"lung": 0.0247, "water": 0.0959, "rib_bone": 0.171}
    point = np.zeros((11, 11, 11), dtype=np.float32)
    point[5, 5, 5] = 1.0
    mu = np.full(point.shape, 0.096, dtype=np.float32)
    mu[:6] = 0.026
    kernel = ddconv(mu, predictor)(point)
    taken = torch.where(torch.from_numpy(mu) > 0.05, 0.0959, 0.0247)[None]
    np.testing.assert_allclose(kernel, their_kernels(theirs(), taken)[0].numpy(), atol=2e-6)


def test_what_is_not_theirs_is_refused(tmp_path):
    state = theirs()
    files = {
        "none": (None, "no such file"),
        "few": ({name: tensor for name, tensor in state.items() if "final" not in name}, "is not the network of DDConv's authors"),
        "wide": (state | {"final_conv.weight": torch.zeros(1, 8, 1, 1, 1)}, "is not the network of DDConv's authors"),
        "words": ({"model_state_dict": "none"}, "holds no tensors by name"),
        "code": ({"model": torch.nn.PReLU()}, "cannot|can be read without running code"),
    }
    for name, (content, said) in files.items():
        path = tmp_path / f"{name}.pth"
        if content is not None:
            torch.save(content, path)
        with pytest.raises(InputError, match=said) as raised:
            import_predictor({**WEIGHTS, "file": str(path)}, tmp_path / "model.safetensors")
        assert "\n" not in str(raised.value)
        assert not (tmp_path / "model.safetensors").exists()
