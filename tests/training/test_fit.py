import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import petbench.training.fit as engine
from petbench.errors import InputError
from petbench.files import read_json
from petbench.methods.base import Step, Trained, batch_parts
from petbench.methods.build import build
from petbench.restoration.weights import save_weights
from petbench.training.data import open_windows
from petbench.training.fit import fit, pace, rate_factor
from petbench.workflow.schema import check, read_yaml

ROOT = Path(__file__).parents[2]
MODULES = ["m_unet", "mak_gan"]
RESUMED = [*MODULES, "m2diff"]
KINDS = ["low_dose", "mr", "standard_dose"]


@pytest.fixture
def train(tmp_path, prepared, outputs):
    """Train into a folder of its own and return that folder."""

    def run(name, description, data=prepared, **options):
        folder = tmp_path / name
        options = {"kinds": KINDS, "checkpoints": folder / "checkpoints", "device": "cpu", "threads": 1, "out": outputs(folder)} | options
        fit(description, data, **options)
        return folder

    return run


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture
def interrupt(train, monkeypatch):
    """Train with a checkpoint after each step, and fail when a step begins."""

    def until(name, description, step):
        advance = engine._Run.advance

        def stopped(run, batch):
            if run.step == step:
                raise KeyboardInterrupt
            advance(run, batch)

        with monkeypatch.context() as patch:
            patch.setattr(engine._Run, "advance", stopped)
            with pytest.raises(KeyboardInterrupt):
                train(name, description, checkpoint_seconds=0)

    return until


@pytest.mark.parametrize("module", RESUMED)
def test_a_resumed_training_equals_an_uninterrupted_one(train, interrupt, describe, monkeypatch, module, capsys):
    monkeypatch.setattr(engine, "HISTORY_ROWS", 2)  # rows of three steps, so that an interruption falls between two
    description = describe(module)
    whole = train("whole", description)
    first, second = sorted(random.Random(module).sample(range(1, 6), 2))
    for step in (first, second):
        interrupt("parts", description, step)
        assert not (whole.parent / "parts" / "model.safetensors").exists()
        torch.rand(7)  # whatever else drew random numbers in between
    parts = train("parts", description, checkpoint_seconds=0)
    assert f"resuming at step {second} of 6" in capsys.readouterr().out
    assert weights(parts) == weights(whole)
    assert (parts / "history.tsv").read_bytes() == (whole / "history.tsv").read_bytes()
    assert [path.name for path in (parts / "checkpoints").iterdir() if path.suffix != ""] == []


@pytest.mark.parametrize("module", MODULES)
def test_the_seed_decides_the_weights(train, describe, module):
    same = [weights(train(name, describe(module, steps=2))) for name in ("a", "b")]
    assert same[0] == same[1]
    assert weights(train("c", describe(module, steps=2, seed=4))) != same[0]


CHILD = """
import json, sys, time
import petbench.training.fit as engine
from petbench.restoration.weights import Description

given = json.loads(sys.argv[1])
advance = engine._Run.advance

def slowly(run, batch):
    time.sleep(0.05)
    advance(run, batch)

engine._Run.advance = slowly
description = Description(**given.pop("description"))
engine.fit(description, **given)
"""


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_a_killed_training_is_guarded_while_it_runs_and_resumes_when_it_is_dead(train, describe, prepared, outputs, tmp_path, module):
    description = describe(module, steps=30)
    folder = tmp_path / "killed"
    given = {
        "description": asdict(description),
        "prepared": prepared,
        "kinds": KINDS,
        "checkpoints": str(folder / "checkpoints"),
        "device": "cpu",
        "threads": 1,
        "out": outputs(folder),
        "checkpoint_seconds": 0.0,
    }
    child = subprocess.Popen([sys.executable, "-c", CHILD, json.dumps(given)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not list((folder / "checkpoints").glob("[!.]*.ckpt")):
            assert child.poll() is None, child.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with pytest.raises(InputError, match="another process"):
            train("killed", description)
        time.sleep(random.uniform(0, 0.5))
        assert child.poll() is None
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stderr.close()
    assert not (folder / "model.safetensors").exists()
    resumed, whole = train("killed", description), train("whole", description)
    assert weights(resumed) == weights(whole)
    assert (resumed / "history.tsv").read_bytes() == (whole / "history.tsv").read_bytes()
    assert [path.name for path in (resumed / "checkpoints").iterdir() if path.name != "lock"] == []


@pytest.mark.parametrize("change", [{"code": "abd"}, {"batch_size": 1}, {"seed": 9}])
def test_a_checkpoint_of_another_configuration_is_not_used(train, interrupt, describe, change, capsys):
    interrupt("a", describe("m_unet"), step=3)
    capsys.readouterr()
    changed = train("a", describe("m_unet", **change))
    assert "resuming" not in capsys.readouterr().out
    assert weights(changed) == weights(train("b", describe("m_unet", **change)))
    assert not list((changed / "checkpoints").glob("*.ckpt"))


def test_a_checkpoint_of_other_data_is_not_used(train, interrupt, describe, tmp_path, prepare_subject, prepared, capsys):
    interrupt("a", describe("m_unet"), step=3)
    capsys.readouterr()
    train("a", describe("m_unet"), data=[prepared[0], prepare_subject(tmp_path / "other", 5)])
    assert "resuming" not in capsys.readouterr().out


def test_a_damaged_checkpoint_is_named(train, interrupt, describe, tmp_path):
    interrupt("a", describe("m_unet"), step=3)
    (path,) = (tmp_path / "a" / "checkpoints").glob("*.ckpt")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=rf"{path.name}: the checkpoint is damaged"):
        train("a", describe("m_unet"))


def test_a_renamed_checkpoint_is_refused(train, interrupt, describe, tmp_path):
    interrupt("a", describe("m_unet"), step=3)
    interrupt("b", describe("m_unet", seed=9), step=3)
    (own,), (foreign,) = ((tmp_path / name / "checkpoints").glob("*.ckpt") for name in ("a", "b"))
    foreign.replace(own)
    with pytest.raises(InputError, match=rf"{own.name}: is a checkpoint of another training; delete it"):
        train("a", describe("m_unet"))
    own.unlink()
    assert weights(train("a", describe("m_unet"))) == weights(train("whole", describe("m_unet")))


@pytest.mark.parametrize("name", ["low_dose.npy", "index.npy"])
def test_a_damaged_volume_is_named_and_made_anew(train, describe, tmp_path, prepare_subject, name):
    parameters = prepare_subject(tmp_path / "sub-01", 1)
    volume = tmp_path / "sub-01" / name
    whole = volume.read_bytes()
    volume.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=rf"{name}: is cut short or damaged .* delete it and run again"):
        train("a", describe("m_unet"), data=[parameters])
    volume.write_bytes(pickle.dumps([1]))
    with pytest.raises(InputError, match=rf"{name}: is cut short or damaged"):
        train("a", describe("m_unet"), data=[parameters])
    volume.write_bytes(whole)
    train("a", describe("m_unet"), data=[parameters])


def still(module):
    """A training whose steps are too short to move a weight."""
    rates = {"m_unet": ["restorer"], "mak_gan": ["generator", "discriminator"]}[module]
    return {"steps": 2, "optimiser": {name: {"name": "adam", "lr": 1e-30} for name in rates}}


@pytest.mark.parametrize("module", MODULES)
def test_a_training_begins_with_the_weights_it_is_given(train, describe, module):
    donor = train("donor", describe(module)) / "model.safetensors"
    begun = load_file(train("begun", describe(module, **still(module)), init=str(donor)) / "model.safetensors")
    fresh = load_file(train("fresh", describe(module, **still(module))) / "model.safetensors")
    names = {name for name, _ in build(module, describe(module).train).named_parameters()}
    given = load_file(donor)
    assert all(torch.equal(begun[name], given[name]) for name in names)
    assert any(not torch.equal(fresh[name], given[name]) for name in names)


def test_starting_weights_of_another_shape_are_refused_by_name(train, describe, tmp_path):
    other = describe("m_unet", network={"spatial_dims": 3, "channels": [6, 8], "normalisation": "batch"})
    save_weights(tmp_path / "other.safetensors", build("m_unet", other.train).weights(), other)
    with pytest.raises(InputError, match=r"other\.safetensors: weights: network\.\S+ is \("):
        train("a", describe("m_unet"), init=str(tmp_path / "other.safetensors"))


def test_the_average_is_what_is_saved(train, describe, monkeypatch):
    seen = []
    update = engine.MovingAverage.update
    monkeypatch.setattr(
        engine.MovingAverage, "update", lambda self, restorer, step: (seen.append(clone(restorer)), update(self, restorer, step))[1]
    )
    saved = load_file(train("average", describe("m_unet", steps=3, ema=0.2)) / "model.safetensors")
    name = next(name for name in saved if name.endswith("weight"))
    assert not torch.equal(saved[name], seen[-1][name])


def clone(restorer):
    return {name: tensor.detach().clone() for name, tensor in restorer.weights().items()}


def test_the_average_forgets_its_random_start():
    restorer = build("m_unet", {"network": {"spatial_dims": 3, "channels": [2, 4], "normalisation": "none"}})
    name = next(iter(restorer.weights()))
    average = engine.MovingAverage(restorer, decay=0.5)
    expected = restorer.weights()[name].clone()
    for step in range(20):
        with torch.no_grad():
            restorer.weights()[name].add_(1.0)
        average.update(restorer, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * restorer.weights()[name]
    torch.testing.assert_close(average.shadow[name], expected)


def test_history_and_cost(train, describe, prepared):
    folder = train("a", describe("mak_gan"))
    history = pd.read_csv(folder / "history.tsv", sep="\t")
    assert history["step"].tolist() == [1, 2, 3, 4, 5, 6]
    losses = {"loss_discriminator", "discriminator_real", "discriminator_fake", "loss_generator", "adversarial", "l1", "edge"}
    assert set(history.columns) == {"step"} | losses
    total = history["adversarial"] + 100 * history["l1"] + 50 * history["edge"]
    pd.testing.assert_series_equal(history["loss_generator"], total, check_names=False, rtol=1e-4)
    pd.testing.assert_series_equal(
        history["loss_discriminator"], history["discriminator_real"] + history["discriminator_fake"], check_names=False, rtol=1e-4
    )
    cost = read_json(folder / "cost.json")
    assert cost["steps"] == 6
    assert cost["device"].startswith("cpu")
    assert cost["precision"] == "fp32"
    assert min(cost[key] for key in ("train_seconds", "train_cpu_seconds", "train_peak_mb")) > 0
    shown = cost["steps"] * describe("mak_gan").train["batch_size"]
    assert cost["epoch_seconds"] == pytest.approx(cost["train_seconds"] * len(open_windows(prepared, KINDS)) / shown)


def test_history_rows_are_means_over_the_steps_between(train, describe, monkeypatch):
    every = pd.read_csv(train("a", describe("m_unet")) / "history.tsv", sep="\t")
    monkeypatch.setattr(engine, "HISTORY_ROWS", 2)
    some = pd.read_csv(train("b", describe("m_unet")) / "history.tsv", sep="\t")
    assert some["step"].tolist() == [3, 6]
    assert some["l1"].tolist() == pytest.approx([every["l1"][:3].mean(), every["l1"][3:].mean()], rel=1e-4)


def test_training_learns(train, describe):
    history = pd.read_csv(train("a", describe("m_unet", steps=60, schedule=None)) / "history.tsv", sep="\t")
    assert history["l1"][-10:].mean() < 0.7 * history["l1"][:10].mean()


def test_a_diverging_training_ends_in_one_sentence(train, describe):
    optimiser = {"restorer": {"name": "adam", "lr": 1e30}}
    with pytest.raises(InputError, match=r"training diverged: loss_restorer is (nan|inf)"):
        train("a", describe("m_unet", optimiser=optimiser, schedule=None))


class Untaught(Trained):
    """One optimiser steps `stepped` times a batch; the other's loss reaches its weight by a factor of `reached`, its bias by `constant`."""

    def __init__(self, reached=1.0, stepped=1, constant=1.0):
        super().__init__()
        self.reached, self.stepped, self.constant, self.made = reached, stepped, constant, 0
        self.judge, self.maker = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)

    def optimised(self):
        return {"judge": self.judge.parameters(), "maker": self.maker.parameters()}

    def losses(self, batch, progress):
        for _ in range(self.stepped):
            self.made += 1
            yield Step("judge", self.judge.weight.square().sum(), {"made": torch.tensor(float(self.made))})
        reached = self.reached if not callable(self.reached) else self.reached(self.made)
        yield Step("maker", reached * self.maker.weight.square().sum() + self.constant * self.maker.bias.exp().sum(), {})


def fit_untaught(tmp_path, model, **train):
    class Nothing:
        def batch(self, numbers):
            return {"numbers": torch.tensor(numbers)}

        def __len__(self):
            return 4

    adam = {"name": "adam", "lr": 1e-3}
    train = {"optimiser": {"judge": adam, "maker": adam}, "batch_size": 1, "seed": 0, "precision": "fp32"} | (train or {"steps": 60})
    out = {"history": str(tmp_path / "history.tsv"), "cost": str(tmp_path / "cost.json")}
    engine.fit_model(lambda: model, Nothing(), train, {}, tmp_path / "checkpoints", "cpu", 1, out, lambda trained: None)
    return pd.read_csv(tmp_path / "history.tsv", sep="\t")


def test_a_training_without_gradient_ends_in_one_sentence_that_names_what_to_change(tmp_path):
    with pytest.raises(InputError, match=r"training died: in its last 20 updates before step 20 the maker had a gradient of 0") as end:
        fit_untaught(tmp_path, Untaught(reached=0.0))
    assert "\n" not in str(end.value)
    assert "train/optimiser/maker/lr" in str(end.value)


@pytest.mark.parametrize(
    "model",
    [
        Untaught(reached=1e-42),  # as small as a number can be, and not gone
        Untaught(reached=lambda made: float(made % 19 == 0)),  # gone for a while
        Untaught(reached=0.0, constant=0.0),  # a loss of next to nothing has no gradient to give
    ],
    ids=["tiny", "intermittent", "won"],
)
def test_a_training_that_may_go_on_is_not_stopped(tmp_path, model):
    assert len(fit_untaught(tmp_path, model)) == 60


def test_logged_values_are_means_over_the_updates_that_logged_them(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "HISTORY_ROWS", 3)
    history = fit_untaught(tmp_path, Untaught(stepped=5), steps=6)
    assert history["made"].tolist() == [5.5, 15.5, 25.5]  # updates 1 to 10, 11 to 20, 21 to 30
    assert (history["loss_judge"] < 2).all()


class Watched(Untaught):
    """Keeps what it is given, and the rates that its optimisers have at each of their steps."""

    def __init__(self, batches=1):
        super().__init__()
        self.batches, self.given, self.progress = batches, [], []

    def losses(self, batch, progress):
        self.given.append(batch)
        self.progress.append(progress)
        yield from super().losses(batch, progress)


def test_a_method_is_told_how_far_its_training_is(tmp_path):
    model = Watched()
    fit_untaught(tmp_path, model, steps=4)
    assert model.progress == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert [progress.share for progress in model.progress] == [0, 0.25, 0.5, 0.75]


def test_a_step_may_take_several_batches_none_of_them_twice_in_an_epoch(tmp_path):
    model = Watched(batches=2)
    fit_untaught(tmp_path, model, epochs=2)
    parts = [batch_parts(batch, 2) for batch in model.given]
    assert len(parts) == 4  # four windows, two batches of one a step, two epochs
    for epoch in (parts[:2], parts[2:]):
        assert sorted(int(part["numbers"]) for step in epoch for part in step) == [0, 1, 2, 3]
    assert read_json(tmp_path / "cost.json")["steps"] == 4


def test_each_optimiser_has_its_own_algorithm_and_schedule(tmp_path, monkeypatch):
    rates, kinds = {"judge": [], "maker": []}, {}
    listen = engine._Run._listen

    def watched(run, update):
        listen(run, update)
        rates[update.optimiser].append(run.optimisers[update.optimiser].param_groups[0]["lr"])
        kinds[update.optimiser] = run.optimisers[update.optimiser]

    monkeypatch.setattr(engine._Run, "_listen", watched)
    judge = {"name": "rmsprop", "lr": 1.0e-3, "alpha": 0.9, "schedule": {"decay": {"shape": "linear", "start": 0.5, "end": 0.0}}}
    optimisers = {"judge": judge, "maker": {"name": "adam", "lr": 1.0e-2}}
    fit_untaught(tmp_path, Untaught(), steps=4, optimiser=optimisers, schedule={"milestones": [0.25], "gamma": 0.1})
    assert rates["judge"] == pytest.approx([1e-3, 1e-3, 1e-3, 0.5e-3])
    assert rates["maker"] == pytest.approx([1e-2, 1e-3, 1e-3, 1e-3])
    assert isinstance(kinds["judge"], torch.optim.RMSprop)
    assert kinds["judge"].defaults["alpha"] == 0.9


def test_a_part_of_a_method_begins_with_weights_that_were_trained(train, describe):
    description = describe("mak_gan", steps=1, optimiser={name: {"name": "adam", "lr": 1e-12} for name in ("generator", "discriminator")})
    donor = train("donor", describe("mak_gan", steps=4)) / "model.safetensors"
    given, fresh = load_file(donor), load_file(train("fresh", description) / "model.safetensors")
    begun = load_file(train("begun", description, init=str(donor), part="generator") / "model.safetensors")
    for name in (name for name in begun if "running" not in name):
        tensor = begun[name]
        assert torch.allclose(tensor, (given if name.startswith("generator.") else fresh)[name], atol=1e-6), name
    with pytest.raises(InputError, match="these weights have no 'teacher'; choose one of discriminator, generator"):
        train("other", description, init=str(donor), part="teacher")


@pytest.mark.parametrize("output", ["relu", "leaky_relu"])
def test_black_images_end_a_training_only_where_they_are_for_good(tmp_path, prepared, output):
    """The paper's last ReLU, off everywhere as in SA-GAN after some steps; its discriminator goes on."""
    entry = read_yaml(ROOT / "config/methods/pcsa_gan.yaml")["train"]
    network = {"filters": [[1, 1, 1], [2, 2]], "deep": 4, "residual_blocks": 0, "pyramid": False, "output": output}
    discriminator = {"channels": [2, 2], "conditional": True}
    train = entry | {"network": entry["network"] | network, "discriminator": discriminator, "steps": 25, "batch_size": 2}

    def dark():
        method = build("pcsa_gan", train)
        torch.nn.init.constant_(method.generator.up[-1].bias, -0.5)
        return method

    out = {"history": str(tmp_path / "history.tsv"), "cost": str(tmp_path / "cost.json")}
    dies = pytest.raises(InputError, match=r"before step 20 the generator had a gradient of 0 .* \(train/network/output\)")
    with dies if output == "relu" else nullcontext():
        engine.fit_model(
            dark, open_windows(prepared, ["mr", "standard_dose"]), train, {}, tmp_path / "checkpoints", "cpu", 1, out, lambda trained: None
        )


def test_a_missing_optimiser_is_named(train, describe):
    optimiser = {"generator": {"name": "adam", "lr": 1e-3}}
    with pytest.raises(InputError, match="train/optimiser: there is no block for 'discriminator'"):
        train("a", describe("mak_gan", optimiser=optimiser))


def test_epochs_are_counted_in_windows(train, describe, prepared):
    cost = read_json(train("a", describe("m_unet", steps=None, epochs=2, batch_size=5)) / "cost.json")
    assert cost["steps"] == 2 * 2  # 4 windows a subject, 8 in all, 2 batches of 5 an epoch


def test_the_rate_falls_at_fractions_of_the_training():
    schedule = {"milestones": [0.5, 0.75], "gamma": 0.5}
    assert [rate_factor(schedule, step, 8) for step in range(8)] == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25]
    assert rate_factor(None, 7, 8) == 1


@pytest.mark.parametrize(("shape", "rates"), [("linear", [1, 1, 1, 0.7, 0.4]), ("cosine", [1, 1, 1, 0.775, 0.325])])
def test_the_rate_decays_towards_its_end(shape, rates):
    assert [rate_factor({"decay": {"shape": shape, "start": 0.4, "end": 0.1}}, step, 5) for step in range(5)] == pytest.approx(rates)


def test_the_rate_rises_evenly_over_the_warm_up_and_falls_afterwards():
    assert [rate_factor({"warmup_steps": 4}, step, 8) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    both = {"warmup_steps": 2, "milestones": [0.5], "gamma": 0.1}
    assert [rate_factor(both, step, 4) for step in range(4)] == pytest.approx([0.5, 1, 0.1, 0.1])


@pytest.mark.parametrize(
    ("schedule", "fault"),
    [
        ({"warmup_steps": 100}, None),
        ({"warmup_steps": 100, "milestones": [0.5], "gamma": 0.1}, None),
        ({"milestones": [0.5]}, "'gamma' is a dependency of 'milestones'"),
        ({"gamma": 0.5}, "'milestones' is a dependency of 'gamma'"),
        ({"warmup_steps": 0}, "0 is less than the minimum of 1"),
        ({"decay": {"shape": "cosine", "start": 0.5, "end": 0.0}}, None),
        ({"decay": {"shape": "steep", "start": 0.5, "end": 0.0}}, "'steep' is not one of"),
    ],
)
@pytest.mark.parametrize("kind", ["method", "classifier"])
def test_a_schedule_may_rise_fall_or_both(kind, schedule, fault):
    assert read_yaml(ROOT / f"config/schemas/{kind}.yaml")["properties"]["train"]["properties"]["schedule"] == {"$ref": "#/$defs/schedule"}
    schedules = read_yaml(ROOT / "config/schemas/engine.yaml")["$defs"]["schedule"]
    expectation = pytest.raises(InputError, match=fault) if fault else nullcontext()
    with expectation:
        check(schedule, schedules, "train/schedule")


def test_the_schedule_reaches_the_optimiser(train, describe, monkeypatch):
    seen = []
    advance = engine._Run.advance

    def watched(run, batch):
        advance(run, batch)
        seen.append(run.optimisers["restorer"].param_groups[0]["lr"])

    monkeypatch.setattr(engine._Run, "advance", watched)
    train("a", describe("m_unet"))
    assert seen == pytest.approx([2e-3] * 3 + [2e-4] * 3)


def test_gradients_are_clipped(train, describe, monkeypatch):
    sgd = {"restorer": {"name": "sgd", "lr": 1.0}}
    monkeypatch.setitem(engine.OPTIMISERS, "sgd", torch.optim.SGD)
    common = {"steps": 1, "optimiser": sgd, "ema": None, "schedule": None}
    start = build_at_start(describe)
    moved = load_file(train("a", describe("m_unet", clip_gradient=0.01, **common)) / "model.safetensors")
    step = torch.cat([(moved[name] - tensor.detach()).flatten() for name, tensor in start.items()])
    assert float(step.norm()) == pytest.approx(0.01, rel=1e-3)


def build_at_start(describe):
    description = describe("m_unet")
    torch.manual_seed(description.train["seed"])
    return dict(build("m_unet", description.train).named_parameters())


def test_a_log_says_how_far_a_training_is():
    assert pace(300, 900, made=100, seconds=50) == "step 300 of 900, 2 steps a second, 5 min 0 s left"
