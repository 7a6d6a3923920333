"""The device a job runs on: its name and the memory it took."""

import resource
from typing import TypeVar

import torch

Network = TypeVar("Network", bound=torch.nn.Module)


def peak_mb(device: str) -> float:
    """Peak memory so far in MB: the GPU's own where there is one, else this process's resident set."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def device_name(device: str) -> str:
    """Name of the device as reported by the machine."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"cpu, {threads} thread{'s' if threads > 1 else ''}"


def place(module: Network, device: str) -> Network:
    """Move a network to a device; on a GPU with the weights of its 2D convolutions in channels-last order, which their outputs follow."""
    module.to(device)
    if device == "cuda" and not any(parameter.ndim == 5 for parameter in module.parameters()):
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module
