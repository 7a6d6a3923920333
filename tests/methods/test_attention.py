"""No attention stores a score for every pair of voxels: every call has the form that fused kernels take."""

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from petbench.methods.base import blank
from petbench.methods.build import build
from petbench.networks import cvt, diffusion_unet, mtrans_generator, multi_kernel, pyramid, restormer

from .entries import CONFIG, entry

FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
CHANNELS, SIDE = 16, 8
LAYERS = {
    "pcsa_gan": lambda: pyramid.SelfAttention(CHANNELS),
    "pcsa_gan, odd width": lambda: pyramid.SelfAttention(5),
    "diffusion": lambda: diffusion_unet.SelfAttention(CHANNELS, 2),
    "mak_gan": lambda: multi_kernel.MultiKernelAttention(3, CHANNELS, 2, [2, 1, 1]),
    "cvt_gan": lambda: cvt.ConvolutionalAttention(3, CHANNELS, 2),
    "mtrans_gan": lambda: Tokens(CHANNELS, 2),
    "mtrans_gan, odd width": lambda: Tokens(5, 1),
    "windows": lambda: restormer.WindowAttention(3, CHANNELS, 2, SIDE),
}


class Tokens(torch.nn.Module):
    """A layer of MTrans-GAN on the voxels of features (B, C, *grid)."""

    def __init__(self, channels, heads):
        super().__init__()
        self.layer = mtrans_generator.TokenLayer(channels, heads, hidden=8, dropout=0.1).eval()

    def forward(self, features):
        return self.layer(features.flatten(2).transpose(1, 2))


class Operators(TorchDispatchMode):
    """Notes which operators run, and the largest tensor that one makes."""

    def __init__(self):
        super().__init__()
        self.ran, self.largest = set(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.ran.add(func.overloadpacket)
        made = [tensor for tensor in (out if isinstance(out, tuple | list) else [out]) if isinstance(tensor, torch.Tensor)]
        self.largest = max([self.largest, *(tensor.numel() for tensor in made)])
        return out


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_fused_and_holds_no_scores(name, precision):
    layer = LAYERS[name]()
    channels = 5 if "odd" in name else CHANNELS
    images = [torch.randn(1, channels, SIDE, SIDE, SIDE, requires_grad=True)] * (2 if name == "mak_gan" else 1)
    with Operators() as seen:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            made = layer(*images)
        made.float().square().sum().backward()
    assert FUSED in seen.ran
    assert not {torch.ops.aten._softmax, torch.ops.aten._safe_softmax} & seen.ran
    queries, keys = SIDE**3, SIDE**3 // (8 if name in ("mak_gan", "cvt_gan") else 1)
    assert seen.largest < 0.5 * queries * keys


class Attentions(TorchFunctionMode):
    """Notes the arguments of every attention without running it, and the scores of every explicit softmax."""

    def __init__(self):
        super().__init__()
        self.calls, self.scores = [], 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.nn.functional.scaled_dot_product_attention:
            self.calls.append(args[:3])
            return args[0].new_empty(*args[0].shape[:-1], args[2].shape[-1])
        if func in (torch.softmax, torch.Tensor.softmax, torch.nn.functional.softmax):
            self.scores = max(self.scores, args[0].numel())
        return func(*args, **(kwargs or {}))


def published():
    """Entries that train, one for each network."""
    found = {}
    for path in sorted((CONFIG / "methods").glob("*.yaml")):
        whole = entry(path.stem)
        # What takes the scan itself has no attention, and no scan of this size is at hand.
        if "network" in (whole.get("train") or {}) and "acquisition" not in whole["restore"]["inputs"]:
            found.setdefault(repr([whole["module"], *(whole["train"].get(block) for block in ("network", "fusion"))]), path.stem)
    return sorted(found.values())


@pytest.mark.parametrize("name", published())
def test_at_published_size_every_attention_can_be_fused(name):
    """What the kernels ask for: four dimensions, one width in multiples of 8, features next to each other; at most 256 where it is long."""
    train = entry(name)["train"]
    dims = train["network"].get("spatial_dims", 3 if train["domain"] in ("patches", "volumes", "slabs") else 2)
    with torch.device("meta"), torch.no_grad(), Attentions() as seen:
        method = build(entry(name)["module"], train).eval()
        images, more = blank(["low_dose", "mr", *entry(name)["restore"]["inputs"]], [{3: 64, 2: 256}[dims]] * dims)
        getattr(method, "evaluate", method.restore)(*images, **more)
    for call in seen.calls:
        assert {tensor.ndim for tensor in call} == {4}
        assert {tensor.stride(-1) for tensor in call} == {1}
        (width,) = {tensor.shape[-1] for tensor in call}
        assert width % 8 == 0
        assert width <= 256 or call[0].shape[-2] <= 1024
    assert seen.scores < 2**20
