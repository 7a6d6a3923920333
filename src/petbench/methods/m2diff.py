"""M2Diff: multi-modality multi-task diffusion for MRI-guided low-dose PET enhancement, its ablations V3 to V5, and partial MR."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from petbench.methods.base import Batch, Progress, Step, need
from petbench.methods.build import construct
from petbench.methods.diffusion import Diffusion, Process
from petbench.networks.two_branch_unet import TwoBranchUNet

Condition = tuple[Tensor, Tensor | None]


class M2Diff(Diffusion):
    """Two heads predict the standard dose, one guided by the low dose and one by MR; their mean is the prediction (M2Diff, eq. 8).

    Args:
        process: The forward process.
        network: Both branches.
        recovery: Weight of each head's squared error (eq. 9 and 10).
        consistency: Weight of the squared difference of both heads (eq. 11).
        mr_dropout: Probability that a training sample is treated as if it had no MR.
        mr_flag: Whether that is drawn for each `sample`, or once for the whole `batch`.
        mr_head: What becomes of the MR head where there is no MR: it is `spared`, for the sample trains the PET head only; or it is
            `trained` as ever, on the MR that only the PET head does without.
    """

    def __init__(
        self,
        process: Process,
        network: TwoBranchUNet,
        recovery: float,
        consistency: float,
        mr_dropout: float,
        mr_flag: str,
        mr_head: str,
    ):
        super().__init__(process)
        self.network = network
        self.recovery, self.consistency, self.mr_dropout = recovery, consistency, mr_dropout
        self.mr_flag, self.mr_head = mr_flag, mr_head

    def condition(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Condition:
        """Low dose and MR, or no MR where the method was trained to do without.

        Raises:
            InputError: the low dose is missing, or MR in a method that always had it.
        """
        return need(low_dose, "low_dose"), mr if self.mr_dropout else need(mr, "mr")

    def predict(self, noisy: Tensor, time: Tensor, condition: Condition) -> Tensor:
        """The mean of both heads; without MR the PET head alone.

        Raises:
            InputError: a side is not divisible by 2 ** (levels - 1).
        """
        pet, mr = self.network(noisy, time, *condition)
        output: Tensor = pet if mr is None else (pet + mr) / 2
        return output

    def predict_pet(self, noisy: Tensor, time: Tensor, condition: Condition) -> Tensor:
        """The PET head alone."""
        output: Tensor = self.network(noisy, time, *condition, mr_head=False)[0]
        return output

    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """One step: both heads' errors and their difference (eq. 12), and the bound of each head's learned variance.

        A term whose weight is 0 is not computed.
        """
        noised = self.process.noised(batch["standard_dose"])
        low_dose, mr = self.condition(batch["low_dose"], batch.get("mr"))
        drawn = self._known(len(noised.time))  # on the CPU: looking there is no waiting for a GPU
        known = drawn.to(noised.noisy.device)
        counted = {"pet": torch.ones(len(known), device=known.device), "mr": known.float()}
        sees_all = self.mr_head == "trained"
        if sees_all:
            counted["mr"] = counted["pet"]
        pet, other = self.network(
            noised.noisy,
            noised.time.to(known.device),
            low_dose,
            mr if sees_all or bool(drawn.any()) else None,
            known if self.mr_dropout else None,
            mr_decoder_sees_all=sees_all,
        )
        loss, logs = torch.zeros((), device=known.device), dict[str, Tensor]()
        for head, output in {"pet": pet, "mr": other}.items():
            if output is None:
                continue
            squared, bound = self.process.errors(output, noised)
            terms = {"mse": (self.recovery, squared)} | ({} if bound is None else {"vlb": (self.process.vlb_weight, bound)})
            for name, (weight, values) in terms.items():
                value = (values * counted[head]).mean()
                loss = loss + weight * value
                logs[f"{name}_{head}"] = value.detach()
        if other is not None and self.consistency:
            apart = (pet[:, :1].float() - other[:, :1].float()).square().flatten(1).mean(1)
            consistency = (apart * counted["mr"]).mean()
            loss = loss + self.consistency * consistency
            logs["consistency"] = consistency.detach()
        yield Step("restorer", loss, logs)

    def _known(self, count: int) -> Tensor:
        """Which training samples have MR, (count,) of truth values on the CPU."""
        if not self.mr_dropout:
            return torch.ones(count, dtype=torch.bool)
        drawn = torch.rand(1).expand(count) if self.mr_flag == "batch" else torch.rand(count)
        return drawn >= self.mr_dropout

    @torch.no_grad()
    def features(self, batch: Batch, time: int, generators: list[torch.Generator]) -> dict[str, dict[str, list[Tensor]]]:
        """Features of both branches, by `encoder` or `decoder` and by `pet` or `mr`, one tensor (B, C, *grid) a layer.

        Args:
            batch: Windows with MR.
            time: Step of the process at which the network sees their standard dose.
            generators: One a window, on the CPU, for the noise.
        """
        clean = self.process.encode(batch["standard_dose"])
        noise = torch.stack([torch.randn(clean.shape[1:], generator=generator) for generator in generators]).to(clean.device)
        times = torch.full((len(clean),), time)
        parts = {"encoder": (self.network.pet.encoder, self.network.mr.encoder)}
        if self.network.decoders == 2:
            parts["decoder"] = (self.network.pet.decoder, self.network.mr.decoder)
        found: dict[str, dict[str, list[Tensor]]] = {part: {"pet": [], "mr": []} for part in parts}
        hooks = [
            layer.register_forward_hook(lambda _, __, output, into=found[part][branch]: into.append(output))
            for part, branches in parts.items()
            for branch, layers in zip(("pet", "mr"), branches, strict=True)
            for layer in layers
        ]
        try:
            noisy = self.process.diffuse(clean, times, noise)
            self.network(noisy, times.to(clean.device), *self.condition(batch["low_dose"], need(batch.get("mr"), "mr")))
        finally:
            for hook in hooks:
                hook.remove()
        return found


def build(train: Mapping[str, Any]) -> M2Diff:
    """The method from an entry's `train` block (`diffusion`, `network`, `loss`, `mr_dropout`, `mr_flag`, `mr_head`)."""
    process = construct(Process, train, "diffusion")
    network = construct(TwoBranchUNet, train, "network", out_channels=process.channels)
    partial = {key: train[key] for key in ("mr_dropout", "mr_flag", "mr_head")}
    return construct(M2Diff, train, "loss", process=process, network=network, **partial)
