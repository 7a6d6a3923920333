"""What one pass through a network costs: parameters, multiply-accumulates and floating-point operations.

Published "GFLOPs" come from two conventions that differ by far more than the factor two between them, so both are counted:

- `gmac_modules`: what thop reports for convolution, transposed convolution and linear *modules*. Attention products, functional
  convolutions (the dynamic kernels of MAK-GAN) and weights used without calling their module count nothing. thop counts a
  transposed convolution by its output voxels, stride^d times its true work; that is kept, as the number exists to stand beside
  published ones. thop's few operations a voxel for normalisation, pooling and interpolation are left out.
- `gflop`: PyTorch's operator counts, two a multiply-accumulate, of every convolution and matrix product that ran, attention included.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def complexity(module: nn.Module, inputs: Sequence[Tensor | None], **more: Any) -> dict[str, float]:
    """Run a network once, or restore once with a Restorer, and count.

    Args:
        module: A network, or a Restorer, whose `restore` is run. Of a method that samples, `evaluate` is: its condition and one
            evaluation of its network, of which restoring takes as many as the sampler has steps.
        inputs: Example inputs on the module's device, such as one window (1, C, *spatial) of each modality.
        more: Further inputs by name, see `Restorer.restore`.

    Returns:
        `parameters` (those the call reads, so that a discriminator is not counted), `gmac_modules` (10^9) and `gflop` (10^9). The
        module and the random state are left as they were.
    """
    macs = 0

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal macs
        macs += output.numel() * _macs_per_output(layer)

    reading, flops = _ParametersRead(module), Flops()
    with ExitStack() as stack:
        for layer in module.modules():
            if isinstance(layer, (*CONVOLUTIONS, nn.Linear)):
                stack.callback(layer.register_forward_hook(count).remove)
        stack.enter_context(_undisturbed(module, [tensor for tensor in (*inputs, *more.values()) if isinstance(tensor, Tensor)]))
        stack.enter_context(torch.no_grad())
        stack.enter_context(reading)
        stack.enter_context(flops)
        getattr(module, "evaluate", getattr(module, "restore", module))(*inputs, **more)
    return {"parameters": reading.total, "gmac_modules": macs / 1e9, "gflop": flops.total / 1e9}


def _macs_per_output(layer: nn.Module) -> int:
    if isinstance(layer, nn.Linear):
        return layer.in_features
    assert isinstance(layer, CONVOLUTIONS)
    return layer.in_channels // layer.groups * math.prod(layer.kernel_size)


class Flops(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sums PyTorch's own counts of each operator that runs, as its `FlopCounterMode` does.

    That class imports the compiler, 1.5 s for a job that restores in one; without a count by module there is no need to.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operator = func.overloadpacket
        # PyTorch counts the fused attention kernels of CUDA, but not the one of the CPU.
        count = _attention_flop if operator is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu else flop_registry.get(operator)
        if count is None:
            with self:
                parts = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if parts is NotImplemented else parts
        out = func(*args, **kwargs)
        self.total += int(count(*args, **kwargs, out_val=out))
        return out


def _attention_flop(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


class _ParametersRead(TorchFunctionMode):
    """Notes which parameters of a module the operations under it take as arguments.

    While it is active PyTorch's transformer layers do without their fused kernels, which would hide their products from the FLOP counter.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._sizes = {id(parameter): parameter.numel() for parameter in module.parameters()}
        self._read: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._read.update(id(leaf) for leaf in tree_leaves((args, kwargs)) if id(leaf) in self._sizes)
        return func(*args, **kwargs)

    @property
    def total(self) -> int:
        return sum(self._sizes[key] for key in self._read)


@contextmanager
def _undisturbed(module: nn.Module, inputs: Sequence[Tensor]) -> Iterator[None]:
    """Evaluation mode, with the module's modes and the random state put back."""
    training = {layer: layer.training for layer in module.modules()}
    devices = sorted({tensor.device.index or 0 for tensor in inputs if tensor.is_cuda})
    with torch.random.fork_rng(devices):
        module.eval()
        try:
            yield
        finally:
            for layer, mode in training.items():
                layer.training = mode
