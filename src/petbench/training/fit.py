"""The one training engine: every method, every fold."""

import csv
import io
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from tqdm import tqdm

from petbench.checkpoint import locked, random_state, restore_random_state
from petbench.device import device_name, peak_mb, place
from petbench.errors import InputError
from petbench.files import atomic, checksum, digest, read_json, write_json
from petbench.methods.base import Progress, Restorer, Step, Trained
from petbench.methods.build import build
from petbench.restoration.weights import Description, fill, save_weights
from petbench.training.average import MovingAverage
from petbench.training.data import Samples, batch_numbers, open_windows

OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop}
HISTORY_ROWS = 200
# So many updates in a row without any gradient are no accident, where there still is a loss: a judge that has won has none.
QUIET_UPDATES, QUIET_LOSS = 20, 1e-6


def fit(
    description: Description,
    prepared: Sequence[str],
    kinds: Sequence[str],
    checkpoints: str | Path,
    device: str,
    threads: int,
    out: Mapping[str, str],
    init: str | None = None,
    part: str | None = None,
    checkpoint_seconds: float = 60.0,
    contexts: Sequence[str] = (),
    acquisitions: Sequence[str] = (),
) -> None:
    """Train one method on one fold, resuming where an interrupted training stopped.

    A resumed training ends in the weights of an uninterrupted one, bit for bit on CPU with the same number of threads.

    Args:
        description: What is trained on what: the method's module and `train` block, the data set, dose and fold, the code's hash.
        prepared: `prepared.json` of each training subject.
        kinds: What is read of each, see `open_windows`.
        checkpoints: Folder for resume checkpoints; one process at a time may train there.
        device: `cpu` or `cuda`.
        threads: CPU threads.
        out: Files to write: `weights` (safetensors), `history` (TSV) and `cost` (JSON).
        init: Weights to start from, or none.
        part: The sub-module that starts from them; all of the method when left out.
        checkpoint_seconds: Time between checkpoints.
        contexts: The context of each training subject, of a method that takes one.
        acquisitions: The `acquisition.json` of each training subject, of a method that reconstructs.

    Raises:
        InputError: another process trains this fold, starting weights do not fit, the loss is no longer finite, or the gradient is gone.
    """
    windows = open_windows(prepared, kinds, contexts, acquisitions)
    identity = {
        "train": description.train,
        "module": description.module,
        "code": description.code,
        "data": [read_json(path) for path in prepared],
        "kinds": list(kinds),
        "contexts": [checksum(path) for path in contexts],
        "acquisitions": [read_json(path) for path in acquisitions],
        "init": [checksum(init), part] if init else None,
    }

    def make() -> Restorer:
        restorer = build(description.module, description.train)
        if init:
            fill(restorer, init, part)
        return restorer

    def save(restorer: Trained) -> None:
        save_weights(out["weights"], restorer.weights(), description)

    fit_model(make, windows, description.train, identity, checkpoints, device, threads, out, save, checkpoint_seconds)


def fit_model(
    make: Callable[[], Trained],
    samples: Samples,
    train: Mapping[str, Any],
    identity: Mapping[str, Any],
    checkpoints: str | Path,
    device: str,
    threads: int,
    out: Mapping[str, str],
    save: Callable[[Trained], None],
    checkpoint_seconds: float = 60.0,
) -> None:
    """Train anything that says what it minimises on samples taken by number: what `fit` and the PSF predictor's training share.

    Args:
        make: Builds what is trained, from torch's random state, which is seeded before.
        samples: What it is trained on.
        train: The engine's keys: `optimiser`, `batch_size`, `steps` or `epochs`, `seed`, `precision`, and, where wanted, `schedule`, `ema`
            and `clip_gradient`. An optimiser's own `schedule` comes before that of all.
        identity: All the weights depend on, JSON-like: a checkpoint of anything else is not resumed.
        checkpoints: Folder for resume checkpoints; one process at a time may train there.
        device: `cpu` or `cuda`.
        threads: CPU threads.
        out: Files to write: `history` (TSV) and `cost` (JSON); `save` writes its own.
        save: Writes the weights of what was trained.
        checkpoint_seconds: Time between checkpoints.

    Raises:
        InputError: another process trains this, the loss is no longer finite, or the gradient is gone.
    """
    torch.set_num_threads(threads)
    precision = train["precision"] if device == "cuda" else "fp32"
    with locked(checkpoints, digest(identity)) as checkpoint:
        torch.manual_seed(train["seed"])
        model = make()
        steps = train["steps"] if "steps" in train else train["epochs"] * math.ceil(len(samples) / (model.batches * train["batch_size"]))
        run = _Run(place(model, device).train(), train, steps, device, precision)
        state = checkpoint.load()
        if state is not None:
            run.load(state)
            print(f"resuming at step {run.step} of {steps}")
        _train(run, samples, lambda: checkpoint.save(run.state()), checkpoint_seconds)
        if run.average is not None:
            run.average.copy_to(model)
        save(model)
        _write_history(out["history"], run.history)
        _write_cost(out["cost"], run, len(samples), device, precision)
        checkpoint.remove()


class _Run:
    """A training in progress: all that a checkpoint holds."""

    def __init__(self, restorer: Trained, train: Mapping[str, Any], steps: int, device: str, precision: str) -> None:
        self.restorer, self.train, self.steps, self.device = restorer, train, steps, device
        self.autocast = torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")
        self.parameters = {name: [p for p in parameters if p.requires_grad] for name, parameters in restorer.optimised().items()}
        missing = sorted(set(self.parameters) - set(train["optimiser"]))
        if missing:
            raise InputError(f"train/optimiser: there is no block for {missing[0]!r}; add one ({', '.join(sorted(self.parameters))}).")
        self.optimisers = {name: _optimiser(parameters, train["optimiser"][name]) for name, parameters in self.parameters.items()}
        self.average = MovingAverage(restorer, train["ema"]) if "ema" in train else None
        self.step = 0
        self.seconds, self.cpu_seconds = 0.0, 0.0
        self.history: list[dict[str, float]] = []
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.quiet = {name: torch.zeros((), device=device) for name in self.parameters}

    def advance(self, batch: Any) -> None:
        """Make one training step."""
        self.restorer.train()
        updates = self.restorer.losses(batch, Progress(self.step, self.steps))
        while True:
            with self.autocast:
                update = next(updates, None)
            if update is None:
                break
            optimiser, parameters = self.optimisers[update.optimiser], self.parameters[update.optimiser]
            settings = self.train["optimiser"][update.optimiser]
            factor = rate_factor(settings.get("schedule", self.train.get("schedule")), self.step, self.steps)
            optimiser.param_groups[0]["lr"] = settings["lr"] * factor
            optimiser.zero_grad(set_to_none=True)
            update.loss.backward()  # type: ignore[no-untyped-call]
            self._listen(update)
            if "clip_gradient" in self.train:
                torch.nn.utils.clip_grad_norm_(parameters, self.train["clip_gradient"])
            optimiser.step()
            for name, value in {f"loss_{update.optimiser}": update.loss.detach(), **update.logs}.items():
                self.sums[name] = self.sums.get(name, torch.zeros((), device=value.device)) + value.float()
                self.counts[name] = self.counts.get(name, 0) + 1
        if self.average is not None:
            self.average.update(self.restorer, self.step)
        self.step += 1

    def _listen(self, update: Step) -> None:
        """Count, where the training runs, for how many updates in a row an optimiser's weights have had no gradient but a loss.

        Biases do not count: with them alone a network whose units are dead still learns a constant.
        """
        weights = [parameter for parameter in self.parameters[update.optimiser] if parameter.ndim > 1] or self.parameters[update.optimiser]
        gradients = [parameter.grad for parameter in weights if parameter.grad is not None]
        largest = get_total_norm(gradients, norm_type=math.inf)
        silent = (largest == 0) & (update.loss.detach().abs() > QUIET_LOSS)
        self.quiet[update.optimiser] = (self.quiet[update.optimiser] + 1) * silent

    def record(self) -> None:
        """Add the mean of each logged value over its updates since the last record to the history.

        Raises:
            InputError: a value is not finite, or the gradient is gone.
        """
        row = {"step": float(self.step)} | {name: float(value) / self.counts[name] for name, value in self.sums.items()}
        for name, value in row.items():
            if not math.isfinite(value):
                raise InputError(
                    f"training diverged: {name} is {value} before step {self.step}; lower train/optimiser/*/lr or clip_gradient."
                )
        for name, updates in self.quiet.items():
            if updates >= QUIET_UPDATES:
                raise InputError(
                    f"training died: in its last {int(updates)} updates before step {self.step} the {name} had a gradient of 0"
                    f" and a loss of {row[f'loss_{name}']:g}; lower train/optimiser/{name}/lr, take another train/seed, or give the network"
                    " an output (train/network/output) that is nowhere flat."
                )
        self.history.append(row)
        self.sums, self.counts = {}, {}
        print(" ".join(f"{name}={value:g}" for name, value in row.items()))

    def state(self) -> dict[str, Any]:
        """All that is needed to go on, as tensors and plain values."""
        return {
            "restorer": self.restorer.state_dict(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "average": None if self.average is None else self.average.shadow,
            "random": random_state(),
            "step": self.step,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "history": self.history,
            "sums": self.sums,
            "counts": self.counts,
            "quiet": self.quiet,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.restorer.load_state_dict(state["restorer"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        if self.average is not None:
            self.average.shadow = self.on_device(state["average"])
        restore_random_state(state["random"])
        self.step, self.counts = state["step"], dict(state["counts"])
        self.seconds, self.cpu_seconds = state["seconds"], state["cpu_seconds"]
        self.history = list(state["history"])
        self.sums, self.quiet = self.on_device(state["sums"]), self.on_device(state["quiet"])

    def on_device(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors where the training runs."""
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in tensors.items()}


def _train(run: _Run, samples: Samples, save: Callable[[], None], checkpoint_seconds: float) -> None:
    every = max(1, run.steps // HISTORY_ROWS)
    started, saved, before = time.perf_counter(), time.perf_counter(), run.seconds
    cpu_started = time.process_time() - run.cpu_seconds
    bar = tqdm(total=run.steps, initial=run.step, desc="training", unit="step", file=sys.__stderr__, disable=None)
    with bar:
        for batch in _batches(run, samples):
            run.advance(batch)
            bar.update()
            if run.step % every == 0 or run.step == run.steps:
                run.record()
            run.seconds = before + time.perf_counter() - started
            run.cpu_seconds = time.process_time() - cpu_started
            if time.perf_counter() - saved > checkpoint_seconds and run.step < run.steps:
                save()
                saved = time.perf_counter()


def _batches(run: _Run, samples: Samples) -> Iterator[Any]:
    """Batches of the steps still to do, the next one gathered while the present one trains."""
    size, seed = run.restorer.batches * run.train["batch_size"], run.train["seed"]

    def gather(step: int) -> Mapping[str, Any]:
        return samples.batch(batch_numbers(len(samples), size, step, seed))

    with ThreadPoolExecutor(max_workers=1) as reader:
        ahead = reader.submit(gather, run.step) if run.step < run.steps else None
        for step in range(run.step, run.steps):
            assert ahead is not None
            batch = ahead.result()
            ahead = reader.submit(gather, step + 1)
            yield run.on_device(batch)


def _optimiser(parameters: Sequence[torch.nn.Parameter], settings: Mapping[str, Any]) -> torch.optim.Optimizer:
    options = {key: value for key, value in settings.items() if key not in ("name", "lr", "schedule")}
    optimiser: torch.optim.Optimizer = OPTIMISERS[settings["name"]](parameters, lr=settings["lr"], **options)
    return optimiser


def rate_factor(schedule: Mapping[str, Any] | None, step: int, steps: int) -> float:
    """Factor on a learning rate at a step, counted from 0: the product of what its schedule asks for.

    Args:
        schedule: `warmup_steps`, over which it rises evenly to 1, the first step already having a rate; `milestones`, each a fraction of
            the training, and `gamma`, by which it falls at each; `decay` from 1 at its `start`, a fraction of the training, to its `end`
            after the last step, along the `shape` that it names, `linear` or `cosine`; or none.
        step: The step to be made.
        steps: Steps of the training.
    """
    if schedule is None:
        return 1.0
    passed = sum(step >= milestone * steps for milestone in schedule.get("milestones", ()))
    rising = min(1.0, (step + 1) / schedule["warmup_steps"]) if "warmup_steps" in schedule else 1.0
    return float(rising * schedule.get("gamma", 1.0) ** passed * _decayed(schedule.get("decay"), step / steps))


def _decayed(decay: Mapping[str, Any] | None, share: float) -> float:
    """Factor that is left of a rate when a share of the training is done."""
    if decay is None or share <= decay["start"]:
        return 1.0
    fallen = (share - decay["start"]) / (1 - decay["start"])
    left = 1 - fallen if decay["shape"] == "linear" else (1 + math.cos(math.pi * fallen)) / 2
    return float(decay["end"] + (1 - decay["end"]) * left)


def _write_history(path: str | Path, rows: Sequence[Mapping[str, float]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in rows)
    with atomic(path) as temporary:
        temporary.write_text(text.getvalue())


def _write_cost(path: str | Path, run: _Run, samples: int, device: str, precision: str) -> None:
    write_json(
        path,
        {
            "train_seconds": run.seconds,
            "train_cpu_seconds": run.cpu_seconds,
            "epoch_seconds": run.seconds / run.steps * samples / (run.restorer.batches * run.train["batch_size"]),
            "train_peak_mb": peak_mb(device),
            "steps": run.steps,
            "device": device_name(device),
            "precision": precision,
        },
    )
