"""What the study asks of every method, measured on synthetic windows in seconds: the contract.

`contract` builds a method from its entry's blocks, at whatever size they say, and gives a `Finding` a law. Small sizes and windows make it
quick; nothing here is a number of any table. What trains and what reads weights is imported where it is needed: `benchmarks/gpu_check.py`
runs where there is nothing but torch, NumPy, SciPy and Numba.
"""

import contextlib
import copy
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from petbench.evaluation.complexity import complexity
from petbench.methods.adversarial import Adversarial
from petbench.methods.base import ACQUISITION, MORE_INPUTS, NEGATIVES, Progress, Restorer, Step, Trained, blank, more_inputs
from petbench.methods.build import build
from petbench.methods.diffusion import Diffusion, Sampled, Sampler
from petbench.methods.edm import EDM
from petbench.physics.plane_scans import PlaneScans
from petbench.physics.projector import DirectProjector
from petbench.physics.scanner import MM_PER_CM, Scanner

LEVELS = (0.1, 1.0)
COUNTS = 20.0
"""Counts of a voxel of level 1 in a low dose."""
MIDDLE = 0.45
"""A level whose double is one as well."""
SHORT = {"sampled": (100, 2e-2), "restored": (100, 1e-2), "judged": (40, 1e-2), "made": (30, 1e-3)}
"""Steps and learning rate of the short training of a method that samples, that restores a low dose without or with a discriminator, that
makes PET of MR."""
SEEDS = 10
MOVES = 3
"""Steps until a network has moved: one for an output that starts at zero, one for the last layers of its blocks that do too, one for the
rest."""
TRIES = 4
BF16_ERROR = 0.05
ROUNDING = 1e-4
FOLLOWED = (1.4, 2.75)
"""What may become of a restored level where the low dose is doubled, after a short training."""
MR_FLOOR = 1e-7
"""Least change of a restored image by another's MR, a share of the image. It tells a network that is awake from one asleep, whose kernels
were box blurs and gave 7e-9 to 8e-8, and no more: what MR is worth is for experiments on reliance to say."""


GRADIENT = "no gradient is zero for all of a network"


class Finding(NamedTuple):
    """Whether a law holds, and what was measured."""

    law: str
    holds: bool
    measured: str


class Phantoms:
    """Ellipsoids: a head with a hot and a cold ball. Its PET has a level and Poisson noise, its MR another contrast and own structure.

    Args:
        spatial: Window in voxels, two or three sides.
        count: Heads.
        seed: What they are drawn from.
        scanned: Whether windows come with their scans; noise of its own leaves the images as they are without.
    """

    def __init__(self, spatial: Sequence[int], count: int, seed: int, scanned: bool = False):
        self.random, self.noise, self.beside = (torch.Generator().manual_seed(seed) for _ in range(3))
        self.scanner = plane_scanner(spatial) if scanned else None
        dims = len(spatial)
        axes = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, side) for side in spatial], indexing="ij"))

        def ball(radius: float, spread: float) -> Tensor:
            centre, stretch = (2 * torch.rand(2, count, dims, *[1] * dims, generator=self.random) - 1).unbind()
            return (((axes - spread * centre) / (radius * (1 + 0.25 * stretch))).square().sum(1, keepdim=True) < 1).float()

        self.head, hot, cold, own = ball(0.75, 0.1), ball(0.4, 0.3), ball(0.4, 0.3), ball(0.3, 0.4)
        self.pet = self.head * (0.6 + 0.4 * hot) * (1 - 0.6 * cold)
        noise = 0.02 * torch.randn(self.head.shape, generator=self.random)
        self.mr = self.head * (0.5 + 0.4 * cold - 0.25 * hot) + 0.1 * own + noise
        self.regions = (self.head * (1 + hot + 2 * cold)).long()
        self.diagnosis = (torch.arange(count) % 2).float()
        # of slices each head's lies at a height of its own
        heights = torch.linspace(-1, 1, count).reshape(-1, 1, *[1] * dims).expand(-1, 3 - dims, *spatial)
        self.coordinates = torch.cat([axes.expand(count, -1, *spatial), heights], dim=1)

    def windows(self, level: float | None = None) -> dict[str, Any]:
        """All heads (B, 1, *spatial) with new noise, each at a level of its own between `LEVELS` unless one is given; and what is known.

        As context comes a smoothed low dose, as neighbouring slices come the same head with noise of their own, as negatives the others; of
        `scanned` windows their acquisition.
        """
        low, high = LEVELS
        drawn = low * (high / low) ** torch.rand(len(self.pet), *[1] * (self.pet.ndim - 1), generator=self.random)
        standard_dose = self.pet * (drawn if level is None else level)
        low_dose = torch.poisson(standard_dose * COUNTS, self.random) / COUNTS
        smooth = nn.functional.avg_pool3d if low_dose.ndim == 5 else nn.functional.avg_pool2d
        known = {"regions": self.regions, "diagnosis": self.diagnosis, "coordinates": self.coordinates}
        channels = MORE_INPUTS["neighbours"].channels
        alike = standard_dose.expand(-1, channels, *standard_dose.shape[2:])
        neighbours = torch.poisson(alike * COUNTS, self.beside) / COUNTS
        neighbours[:, channels // 2 : channels // 2 + 1] = low_dose
        others = [standard_dose.roll(1 + number % (len(standard_dose) - 1), 0) for number in range(NEGATIVES)]
        known |= {"neighbours": neighbours, "standard_dose_neighbours": alike, "negatives": torch.cat(others, dim=1)}
        images = {"low_dose": low_dose, "mr": self.mr, "context": smooth(low_dose, 3, 1, 1), "standard_dose": standard_dose, **known}
        return images if self.scanner is None else images | {ACQUISITION: self._scanned(standard_dose, self.scanner)}

    def _scanned(self, activity: Tensor, scanner: Scanner) -> PlaneScans:
        """Scans of slices or volumes that count as much of a voxel as a low dose holds."""
        stacks = activity.reshape(*activity.shape[:4], -1)[:, 0].permute(1, 2, 0, 3).flatten(2)
        count = stacks.shape[2]
        project = DirectProjector(replace(scanner, planes=count, image_shape=(*scanner.image_shape[:2], count)))
        expected = project(stacks).permute(2, 1, 0)
        seen = scanner.views * scanner.voxel_mm[0] ** 2 / scanner.radial_spacing_mm / MM_PER_CM  # of a voxel, by all lines
        factors = torch.full_like(expected, COUNTS / seen)
        background = torch.full_like(expected, 0.1 * float((factors * expected).mean()))
        counts = torch.poisson(factors * expected + background, self.noise)
        data = torch.stack([counts, background, factors], dim=1)
        return PlaneScans(data if activity.ndim == 4 else data.reshape(len(activity), -1, *data.shape[1:]), scanner, psf_mm=0.0)


def blank_scans(spatial: Sequence[int], count: int) -> PlaneScans:
    """Scans without counts of that scanner, on torch's default device."""
    scanner = plane_scanner(spatial)
    return PlaneScans(torch.zeros(count, 3, scanner.views, scanner.radial_bins), scanner, psf_mm=0.0)


def plane_scanner(spatial: Sequence[int]) -> Scanner:
    """A scanner of one plane that sees slices of a size, its bins a voxel wide."""
    side, image = max(spatial), (spatial[0], spatial[1], 1)
    return Scanner("probe", side * 4.0, 8 * side, "uniform", side, 4.0, side, 1, 4.0, image, (4.0, 4.0, 4.0), side * 4.0)


class _CutError(Exception):
    """A training was interrupted."""


@dataclass
class _Batches:
    """Batches as samples of the engine, one a number; at the reading `cut_at` the training is interrupted."""

    batches: Sequence[Mapping[str, Any]]
    cut_at: int | None = None
    read: int = 0

    def batch(self, numbers: Sequence[int]) -> Mapping[str, Any]:
        self.read += 1
        if self.read == self.cut_at:
            raise _CutError
        return self.batches[numbers[0]]

    def __len__(self) -> int:
        return len(self.batches)


def steps_of(method: Trained, batch: Mapping[str, Any], progress: Progress, autocast: bool) -> Iterator[Step]:
    """The steps of `Trained.losses`, each loss computed in 32-bit or under bf16 autocast on the method's device, as the engine does."""
    kind = next(method.parameters(), torch.empty(0)).device.type
    steps = iter(method.losses(batch, progress))
    while True:
        with torch.autocast(kind, torch.bfloat16, enabled=autocast):
            step = next(steps, None)
        if step is None:
            return
        yield step


def learn(
    method: Trained, batches: Sequence[Mapping[str, Any]], rate: float, after: Callable[[str], None] | None = None, autocast: bool = False
) -> None:
    """Train with Adam, the rate falling to 0 as a cosine.

    Args:
        method: What is trained, in place.
        batches: One a step.
        rate: Learning rate of all optimisers at the start.
        after: Called with an optimiser's name between its gradient and its update.
        autocast: Whether in bf16.
    """
    optimisers = {
        name: torch.optim.Adam(list(parameters), lr=rate, betas=(0.9, 0.99), fused=True) for name, parameters in method.optimised().items()
    }
    method.train()
    for number, batch in enumerate(batches):
        for optimiser in optimisers.values():
            optimiser.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * number / len(batches))) / 2
        for step in steps_of(method, batch, Progress(number, len(batches)), autocast):
            optimiser = optimisers[step.optimiser]
            optimiser.zero_grad()
            step.loss.backward()  # type: ignore[no-untyped-call]
            if after is not None:
                after(step.optimiser)
            optimiser.step()


def every_part_moves(make: Callable[[], Trained], batches: Sequence[Mapping[str, Any]]) -> tuple[Trained, list[Finding]]:
    """Whether each parameter gets a gradient in the first steps, and each optimiser one at every step.

    A unit may start dead at one seed, so up to `TRIES` are taken until all have moved.

    Returns:
        What was trained at the first seed, and the findings.
    """
    still, silent, first = set[str](), list[str](), None
    for seed in range(TRIES):
        torch.manual_seed(seed)
        trained = make()
        asleep = _asleep(trained, batches, silent)
        still = asleep if first is None else still & asleep
        first = first or trained
        if not still:
            break
    assert first is not None
    said = f"not {len(still)} of {len(dict(first.named_parameters()))} in {seed + 1} seeds: {sorted(still)[:3]}"
    return first, [
        Finding(f"{len(batches)} steps change every trainable part", not still, said),
        Finding(GRADIENT, not silent, f"zero for {silent}"),
    ]


def _asleep(trained: Trained, batches: Sequence[Mapping[str, Any]], silent: list[str]) -> set[str]:
    """Names of trainable parameters that get no gradient in a training; optimisers that get none at a step are added to `silent`."""
    parameters = {name: list(parameters) for name, parameters in trained.optimised().items()}
    moved: set[nn.Parameter] = set()

    def look(optimiser: str) -> None:
        moving = {parameter for parameter in parameters[optimiser] if parameter.grad is not None and bool(parameter.grad.any())}
        moved.update(moving)
        if not moving:
            silent.append(optimiser)

    learn(trained, batches, rate=1e-3, after=look)
    return {name for name, parameter in trained.named_parameters() if parameter.requires_grad and parameter not in moved}


@contextlib.contextmanager
def _without_onednn() -> Iterator[None]:
    """PyTorch's own kernels: oneDNN's bf16 gradient of 3x3x3 weights on a grid of two voxels a side adds memory that was never written."""
    before = torch.backends.mkldnn.set_flags(False)[0]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(before)  # type: ignore[no-untyped-call]


def gradients(method: Trained, batch: Mapping[str, Any], progress: Progress, autocast: bool) -> tuple[dict[str, Tensor], list[float]]:
    """The gradient of each optimiser's parameters, flat, and the losses, in 32-bit or under bf16 autocast; the method is left alone."""
    method = copy.deepcopy(method).train()
    parameters = {name: list(parameters) for name, parameters in method.optimised().items()}
    found: dict[str, Tensor] = {}
    losses: list[float] = []
    devices = sorted({p.device.index or 0 for p in method.parameters() if p.is_cuda})
    with torch.random.fork_rng(devices), _without_onednn():
        torch.manual_seed(0)
        for step in steps_of(method, batch, progress, autocast):
            method.zero_grad()
            step.loss.backward()  # type: ignore[no-untyped-call]
            losses.append(float(step.loss.detach()))
            own = parameters[step.optimiser]
            found[step.optimiser] = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in own])
    return found, losses


def bf16_agrees(method: Trained, batches: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Whether losses and gradients are finite either way, and how far those under autocast are from 32-bit, over some batches together."""
    apart: dict[str, float] = {}
    length: dict[str, float] = {}
    finite = True
    for number, batch in enumerate(batches):
        progress = Progress(number, len(batches))
        (exact, losses), (rounded, others) = (gradients(method, batch, progress, autocast) for autocast in (False, True))
        finite &= all(map(math.isfinite, (*losses, *others))) and all(
            bool(g.isfinite().all()) for g in (*exact.values(), *rounded.values())
        )
        for name in exact:
            apart[name] = apart.get(name, 0.0) + float((rounded[name] - exact[name]).square().sum())
            length[name] = length.get(name, 0.0) + float(exact[name].square().sum())
    errors = {name: math.sqrt(apart[name] / length[name]) if length[name] else math.inf for name in apart}
    said = ", ".join(f"{name} {error:.4f}" for name, error in errors.items())
    yield Finding("losses and gradients are finite in 32-bit and under bf16", finite, said)
    yield Finding(f"gradients under bf16 are within {BF16_ERROR} of 32-bit", all(e <= BF16_ERROR for e in errors.values()), said)


def resumes(
    make: Callable[[], Trained], train: Mapping[str, Any], batches: Sequence[Mapping[str, Any]], scratch: Path
) -> Iterator[Finding]:
    """Whether a training by the engine that is cut and resumed ends in the weights of one that is not.

    Args:
        make: Builds what is trained.
        train: The engine's keys of its entry.
        batches: One a step.
        scratch: An empty folder.
    """
    from petbench.training.fit import fit_model

    settings = {key: value for key, value in train.items() if key != "epochs"} | {"steps": len(batches), "batch_size": 1}
    out = {"history": str(scratch / "history.tsv"), "cost": str(scratch / "cost.json")}

    def trained(folder: str, cut_at: int | None = None) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = {}
        samples = _Batches(batches, cut_at)
        with contextlib.redirect_stdout(io.StringIO()):
            fit_model(
                make, samples, settings, {}, scratch / folder, "cpu", torch.get_num_threads(), out, lambda m: weights.update(m.weights()), 0
            )
        return weights

    whole = trained("whole")
    with contextlib.suppress(_CutError):
        trained("parts", cut_at=len(batches) // 2 + 1)
    torch.rand(7)  # whatever else draws in between
    parts = trained("parts")
    unequal = [name for name in whole if not torch.equal(whole[name], parts[name])]
    yield Finding("a resumed training equals an uninterrupted one", not unequal, f"{len(unequal)} of {len(whole)} tensors differ")


def draw(method: Restorer, images: Mapping[str, Any], inputs: Sequence[str], sampler: Sampler | None, first: int = 0) -> Tensor:
    """Restore windows from the `inputs` among `images`; a method that samples draws the noise of window n from the seed `first` + n."""
    method.eval()
    low_dose, mr = (images[name] if name in inputs else None for name in ("low_dose", "mr"))
    more = more_inputs({name: images[name] for name in inputs})
    if sampler is None:
        return method.restore(low_dose, mr, **more)
    assert isinstance(method, Sampled)
    generators = [torch.Generator().manual_seed(first + n) for n in range(len(images[inputs[0]]))]
    return method.sample(low_dose, mr, sampler, generators, **more)


def short_sampler(restore: Mapping[str, Any]) -> Sampler | None:
    """The sampler of an entry's block `restore`, of four steps at most."""
    if "sampler" not in restore:
        return None
    return Sampler(**restore["sampler"] | {"steps": min(4, restore["sampler"]["steps"])})


def restores(method: Restorer, restore: Mapping[str, Any], phantoms: Phantoms) -> Iterator[Finding]:
    """The laws of a trained method's images: alike however they are batched, as high as their low dose, and other where MR is.

    Args:
        method: It, after a short training on the phantoms.
        restore: An entry's block `restore`; nothing is given but its `inputs`.
        phantoms: The heads.
    """
    inputs, sampler = restore["inputs"], short_sampler(restore)
    batch = phantoms.windows(MIDDLE)

    def run(images: Mapping[str, Any], first: int = 0) -> Tensor:
        return draw(method, images, inputs, sampler, first)

    whole = run(batch)
    sound = whole.shape == phantoms.pet.shape and bool(whole.isfinite().all()) and not whole.requires_grad
    yield Finding("restoring keeps the shape, is finite and has no gradient", sound, f"{tuple(whole.shape)} of {tuple(phantoms.pet.shape)}")
    yield Finding("restoring twice gives the same", torch.equal(run(batch), whole), "bit for bit")
    single = torch.cat([run({name: image[n : n + 1] for name, image in batch.items()}, n) for n in range(3)])
    apart = _change(single, run({name: image[:3] for name, image in batch.items()}))
    yield Finding("batches of 1 and 3 give the same", apart < ROUNDING, f"{apart:.1e} apart")
    if "low_dose" in inputs and method.follows_level:
        ratio = _level_ratio(method, run, phantoms, batch)
        yield Finding(
            "the level follows that of the low dose", FOLLOWED[0] < ratio < FOLLOWED[1], f"doubled, it is {ratio:.2f} times as high"
        )
    if "mr" in inputs and method.optimised():
        change = _change(run(batch | {"mr": batch["mr"].roll(1, 0)}), whole)
        yield Finding("another's MR changes the image", change > MR_FLOOR, f"by {change:.1e} of it")


def _level_ratio(method: Restorer, run: Callable[[Mapping[str, Any]], Tensor], phantoms: Phantoms, batch: Mapping[str, Tensor]) -> float:
    """How much higher heads are restored whose low dose is twice as high.

    Noise as the prediction takes long to learn well enough to sample from nothing, and so does EDM's highest noise, which training hardly
    shows; the clean image is then that of one half-noised image.
    """

    pet = ["low_dose", ACQUISITION, *(name for name, kind in MORE_INPUTS.items() if kind.is_pet)]

    def level(factor: float) -> float:
        images = {**batch, **{name: factor * batch[name] for name in pet if name in batch}}
        if isinstance(method, Diffusion) and method.process.prediction == "epsilon":
            return float(_half_noised(method, factor * batch["standard_dose"], images)[phantoms.head > 0].mean())
        if isinstance(method, EDM):
            return float(_estimated(method, factor * batch["standard_dose"], images)[phantoms.head > 0].mean())
        return float(run(images)[phantoms.head > 0].mean())

    below = level(1.0)
    return level(2.0) / below if below else math.inf


@torch.no_grad()
def _half_noised(method: Diffusion, clean: Tensor, images: Mapping[str, Tensor]) -> Tensor:
    process = method.process
    time = (process.alpha_bar - 0.5).abs().argmin().repeat(len(clean))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = process.diffuse(process.encode(clean), time, noise)
    output = method.predict(noisy, time, method.condition(images["low_dose"], images["mr"], **more_inputs(images)))
    return process.decode(process.clean(output, noisy, time))


@torch.no_grad()
def _estimated(method: EDM, standard_dose: Tensor, images: Mapping[str, Any]) -> Tensor:
    """The image that EDM estimates of a residual in noise as strong as the residual is taken to be."""
    residual, levels = standard_dose - images["low_dose"], method.levels
    noise = torch.randn(residual.shape, generator=torch.Generator().manual_seed(0))
    sigma = torch.full((len(residual),), levels.sigma_data)
    condition = method.condition(images["low_dose"], images.get("mr"), **more_inputs(images))
    estimated = method.denoise(levels.scale * residual + levels.sigma_data * noise, sigma, condition) / levels.scale
    restored: Tensor = images["low_dose"] + estimated
    return restored


def _change(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm().clamp(min=1e-30))


def keeps_weights(method: Restorer, module: str, train: Mapping[str, Any], scratch: Path) -> Iterator[Finding]:
    """Whether a method comes back from a weights file as it was."""
    from petbench.restoration.weights import Description, load_restorer, save_weights

    path = scratch / "model.safetensors"
    save_weights(path, method.weights(), Description(module, dict(train), {}, [], [], "phantoms", "low", "0", ""))
    loaded = load_restorer(path, "cpu")[0].weights()
    unequal = [name for name, tensor in method.weights().items() if not torch.equal(loaded[name], tensor)]
    yield Finding("weights come back from their file", not unequal, f"{len(unequal)} of {len(loaded)} tensors differ")


def lives(make: Callable[[], Restorer], train: Mapping[str, Any], restore: Mapping[str, Any], spatial: Sequence[int]) -> Iterator[Finding]:
    """Whether a method starts alive at each of `SEEDS`: every optimiser has a gradient at each step, and no image is constant."""
    phantoms = Phantoms(spatial, 2, seed=2, scanned=ACQUISITION in restore["inputs"])
    dead = []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        method, silent = make(), list[str]()
        _asleep(method, batches(phantoms, seen(train, restore), MOVES, method.batches), silent)
        spread = draw(method, phantoms.windows(), restore["inputs"], short_sampler(restore)).flatten(1).std(dim=1)
        if silent or not bool((spread > 0).all()):
            dead.append(seed)
    yield Finding(f"it starts alive at {SEEDS} seeds", not dead, f"dead at {dead}")


def seen(train: Mapping[str, Any], restore: Mapping[str, Any]) -> tuple[str, ...]:
    """What a training sees of a window: the method's inputs, the standard dose, and what its supervision names."""
    return *restore["inputs"], "standard_dose", *train.get("supervision", ())


def batches(phantoms: Phantoms, kinds: Sequence[str], steps: int, parts: int = 1) -> list[dict[str, Any]]:
    """What each step of a training is given: as many batches of phantoms as it takes, of these kinds of data and no others."""

    def gathered() -> dict[str, Any]:
        drawn = [phantoms.windows() for _ in range(parts)]
        return {kind: _together([windows[kind] for windows in drawn]) for kind in drawn[0] if kind in kinds}

    return [gathered() for _ in range(steps)]


def _together(parts: Sequence[Any]) -> Any:
    return PlaneScans.cat(parts) if isinstance(parts[0], PlaneScans) else torch.cat(list(parts))


def contract(
    module: str, train: Mapping[str, Any], restore: Mapping[str, Any], spatial: Sequence[int], scratch: Path
) -> tuple[Restorer, Phantoms, list[Finding]]:
    """Put a method through all that its training must do.

    Args:
        module: An entry's `module`.
        train: Its block `train`, with small widths.
        restore: Its block `restore`.
        spatial: Window in voxels, two or three sides.
        scratch: An empty folder.

    Returns:
        The method after a short training, the heads that it was trained on, and the findings, those of `restores` left out.
    """

    def make() -> Restorer:
        return build(module, train)

    torch.manual_seed(train["seed"])
    phantoms = Phantoms(spatial, 4, seed=1, scanned=ACQUISITION in restore["inputs"])
    kinds = seen(train, restore)
    method = make()
    findings = []
    if method.optimised():
        probed, found = every_part_moves(make, batches(phantoms, kinds, MOVES, method.batches))
        findings += found
        if train["precision"] == "bf16":
            findings += bf16_agrees(probed, batches(phantoms, kinds, 2, method.batches))
    findings += resumes(make, train, batches(phantoms, kinds, 4, method.batches), scratch)
    if isinstance(method, Sampled):
        kind = "sampled"
    elif "low_dose" in restore["inputs"]:
        kind = "judged" if isinstance(method, Adversarial) else "restored"
    else:
        kind = "made"
    steps, rate = SHORT[kind] if method.optimised() else (1, 0.0)
    learn(method, batches(phantoms, kinds, steps, method.batches), rate)
    findings += keeps_weights(method, module, train, scratch)
    return method, phantoms, findings


def trains_unseen(module: str, train: Mapping[str, Any], restore: Mapping[str, Any], spatial: Sequence[int]) -> None:
    """Run losses, gradients and restoring on the `meta` device, which knows shapes and devices but holds nothing: at any size, in a second.

    Args:
        module: An entry's `module`.
        train: Its block `train`.
        restore: Its block `restore`.
        spatial: Window in voxels, two or three sides.

    Raises:
        RuntimeError: shapes do not fit, a part is made on the CPU where the method is not, or a value is looked at.
    """
    with torch.device("meta"):
        method = build(module, train)
        count = 2 * method.batches
        image = torch.empty(count, 1, *spatial)
        told: dict[str, Any] = {"regions": torch.empty(count, 1, *spatial, dtype=torch.int64), "diagnosis": torch.empty(count)}
        told |= {name: torch.empty(count, kind.channels, *spatial) for name, kind in MORE_INPUTS.items()}
        told |= {"standard_dose_neighbours": told["neighbours"], "negatives": torch.empty(count, NEGATIVES, *spatial)}
        told[ACQUISITION] = blank_scans(spatial, count)
    images = {kind: told.get(kind, image) for kind in seen(train, restore)}
    for step in method.losses(images, Progress(9, 10)):
        step.loss.backward()  # type: ignore[no-untyped-call]
    draw(method, images, restore["inputs"], short_sampler(restore))


def size(module: str, train: Mapping[str, Any], inputs: Sequence[str], window: Sequence[int]) -> dict[str, float]:
    """What `complexity` counts of a method on one window, without computing or holding anything.

    Args:
        module: An entry's `module`.
        train: Its block `train`.
        inputs: Its `restore/inputs`.
        window: Window in voxels, two or three sides.
    """
    with torch.device("meta"):
        method = build(module, train)
        images, blanks = blank(inputs, window)
        more: dict[str, Any] = blanks | ({ACQUISITION: blank_scans(window, 1)} if ACQUISITION in inputs else {})
    return complexity(method, images, **more)
