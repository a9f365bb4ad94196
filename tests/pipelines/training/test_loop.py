"""Training: what is learnt does not depend on how it is computed, everything is logged, and stops are clean."""

from __future__ import annotations

import itertools
import json
import math
import signal
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pipelines import __version__
from pipelines.common.images import read_request
from pipelines.datasets.report import read_report
from pipelines.models.loading import load_model
from pipelines.models.networks import make_loss
from pipelines.storage.config import DataConfig, InitConfig, OptimizerConfig, RunConfig
from pipelines.storage.layout import DATA
from pipelines.storage.run import Run
from pipelines.train import default_name
from pipelines.training.diffusion import TIMESTEP_BINS
from pipelines.training.loop import TrainingLoop
from pipelines.training.plan import Shuffle, learning_rate

FIELDS = {"step", "images_seen", "seconds", "loss", "lr", "grad_norm"}


def _all_finite(path) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in load_file(path).values())


# --- the learning rate


def test_the_warm_up_is_linear_and_ends_at_the_peak():
    config = OptimizerConfig(steps=100, lr=0.5, warmup_steps=20)
    rates = [learning_rate(config, step) for step in range(20)]
    assert np.allclose(np.diff(rates), 0.5 / 20)
    assert rates[0] == pytest.approx(0.5 / 20)
    assert rates[-1] == pytest.approx(0.5)


@pytest.mark.parametrize(("steps", "warmup"), [(100, 20), (100, 0), (10, 9), (1, 0)])
def test_the_cosine_falls_from_the_peak_to_zero(steps, warmup):
    config = OptimizerConfig(steps=steps, lr=0.5, warmup_steps=warmup)
    rates = [learning_rate(config, step) for step in range(warmup, steps + 1)]
    assert rates[0] == pytest.approx(0.5)
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates))
    middle = (steps + warmup) / 2
    if middle.is_integer():
        assert learning_rate(config, int(middle)) == pytest.approx(0.25)


def test_the_constant_rate_stays_after_the_warm_up():
    config = OptimizerConfig(steps=100, lr=0.5, warmup_steps=20, lr_schedule="constant")
    assert {learning_rate(config, step) for step in range(19, 200)} == {0.5}


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_every_training_step_moves(schedule):
    config = OptimizerConfig(steps=30, lr=0.5, warmup_steps=50, lr_schedule=schedule)  # the warm-up outlasts the run
    assert all(0 < learning_rate(config, step) <= 0.5 for step in range(30))


@pytest.mark.parametrize(("steps", "warmup"), [(30, 200), (30, 31), (30, 30), (30, 0), (1, 2)])
def test_a_warm_up_in_which_the_rate_never_reaches_its_peak_is_told(steps, warmup):
    config = OptimizerConfig(steps=steps, lr=0.5, warmup_steps=warmup)
    assert bool(config.about_warmup) == (max(learning_rate(config, step) for step in range(steps)) < config.lr)
    assert not replace(config, time_budget="1m").about_warmup  # the steps are not known yet


# --- the order of the images


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_every_epoch_is_a_permutation(size):
    order = Shuffle(size, seed=3).batch(0, 5 * size).view(5, size)
    assert all(sorted(epoch.tolist()) == list(range(size)) for epoch in order)
    if size == 40:
        assert len({tuple(epoch.tolist()) for epoch in order}) == 5


@pytest.mark.parametrize("batch", [1, 3, 16, 17, 64, 100])
def test_batches_run_across_the_end_of_an_epoch(batch):
    whole = Shuffle(17, seed=1).batch(0, 10 * batch)
    shuffle = Shuffle(17, seed=1)
    parts = [shuffle.batch(start, batch) for start in range(0, 10 * batch, batch)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(Shuffle(17, seed=1).batch(7 * batch, batch), parts[7])  # from the middle, as after a resume
    assert torch.equal(shuffle.batch(0, batch), parts[0])  # and back again
    assert whole.dtype == torch.int64


def test_the_seed_decides_the_order():
    assert torch.equal(Shuffle(40, 5).batch(0, 80), Shuffle(40, 5).batch(0, 80))
    assert not torch.equal(Shuffle(40, 5).batch(0, 80), Shuffle(40, 6).batch(0, 80))


# --- a run


def test_the_run_folder_holds_all_that_the_design_names(tiny_run):
    files = {str(path.relative_to(tiny_run.path)) for path in tiny_run.path.rglob("*") if path.is_file()}
    grids = {f"samples/step-{step:08d}{suffix}.png" for step in (12, 24) for suffix in ("", "-raw")}
    assert files == {"config.json", "data.json", "model.safetensors", "metrics.jsonl", "state/state.safetensors"} | grids


def test_the_configuration_is_complete(tiny_run):
    config = tiny_run.config
    assert config.image_shape == (3, 8, 8)
    assert config.data.fit == "crop"
    assert config.data.flip is True
    assert {"torch", "accelerate", "datasets"} <= config.versions.keys()
    assert config.versions["noisescope"] == __version__
    assert config.versions["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_every_line_has_its_fields(tiny_run):
    rows = [json.loads(line) for line in (tiny_run.path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(2, 25, 2))
    for row in rows:
        evaluated = row["step"] % 6 == 0
        assert row.keys() == FIELDS | ({"val_loss", "loss_by_timestep"} if evaluated else set())
        assert row["images_seen"] == row["step"] * 8
        assert row["lr"] == learning_rate(tiny_run.config.optimizer, row["step"] - 1)
        assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))
        if evaluated:
            assert len(row["loss_by_timestep"]) == TIMESTEP_BINS == 20
            assert all(isinstance(loss, float) and math.isfinite(loss) for loss in row["loss_by_timestep"])
    assert all(later["seconds"] >= earlier["seconds"] for earlier, later in itertools.pairwise(rows))


def test_the_sample_grids_show_both_weights_from_the_same_seeds(tiny_run):
    for step, path in tiny_run.samples().items():
        raw = path.with_stem(path.stem + "-raw")
        for file in (path, raw):
            assert read_request(file) == {"run": "tiny", "step": step, "seed": 0}
            with Image.open(file) as image:
                assert image.size == (2 * 10 + 2, 2 * 10 + 2)
                assert image.mode == "RGB"
        assert path.read_bytes() != raw.read_bytes()


def test_the_loss_goes_down(train, tmp_path):
    run = train(tmp_path / "run", steps=150, lr=5e-3, warmup_steps=10, log_every=10, eval_every=50, sample_every=500)
    table = run.metrics()
    assert table["loss"].iloc[-3:].mean() < 0.6 * table["loss"].iloc[0]
    validation = table["val_loss"].dropna()
    assert len(validation) == 3
    assert validation.iloc[-1] < validation.iloc[0]


@pytest.mark.parametrize("loss", ["mse", "l1", "huber"])
def test_the_validation_loss_is_that_of_the_held_out_images(make_trainer, tmp_path, loss):
    """Untrained, the last layer is zero, so the loss is the mean of the target itself, whatever the images are."""
    trainer = make_trainer(tmp_path / "run", loss=loss, prediction="epsilon", schedule="cosine", held_out_images=4)
    assert len(trainer.task.data.held_out) == 4
    by_timestep = trainer.task.validation_loss(trainer.ema.network)
    # For a standard normal target: E e² = 1, E|e| = 0.80, Huber between; 4 images of 192 values give about 5 % error.
    expected = {"mse": 1.0, "l1": 0.798, "huber": 0.402}[loss]
    assert sum(by_timestep) / len(by_timestep) == pytest.approx(expected, rel=0.3)
    assert all(value == pytest.approx(expected, rel=0.6) for value in by_timestep)
    assert trainer.task.validation_loss(trainer.ema.network) == by_timestep  # the same at every call


def test_what_is_validated_and_saved_are_the_average_weights(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path / "run")
    trainer.train_step()
    with torch.no_grad():
        for parameter in trainer.network.parameters():
            parameter.fill_(0.1)
    by_average, by_raw = (trainer.task.validation_loss(network) for network in (trainer.ema.network, trainer.network))
    assert by_average != by_raw
    trainer.log(evaluate=True)
    assert list(trainer.run.metrics()["loss_by_timestep"].iloc[-1]) == by_average
    average = trainer.ema.network.state_dict()
    assert all(torch.equal(tensor, average[name]) for name, tensor in trainer.task.weights(trainer.ema.network).items())


def test_the_first_loss_is_that_of_an_untrained_network(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path / "run", prediction="epsilon", schedule="cosine", batch_size=64)
    trainer.train_step()
    assert trainer._recent.last == pytest.approx(1.0, rel=0.1)
    assert make_loss(trainer.config.diffusion).prediction == "epsilon"


def test_the_gradient_is_no_longer_than_allowed(make_trainer, tmp_path):
    """After one step AdamW's average of gradients is 1 − beta1 times the first of them, as it was clipped."""
    trainer = make_trainer(tmp_path / "run", max_grad_norm=0.01)
    trainer.train_step()
    assert trainer._recent.numbers(trainer.accelerator)[1][0] > 0.1
    averages = [state["exp_avg"].flatten() for state in trainer.optimizer.state.values()]
    beta = trainer.config.optimizer.betas[0]
    assert float(torch.cat(averages).norm()) == pytest.approx((1 - beta) * 0.01, rel=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"unet": "attention", "attention_levels": (0, 1), "patch_size": 2},
        {"schedule": "flow", "prediction": "flow"},
        {"schedule": "linear", "zero_terminal_snr": True, "prediction": "x0", "weighting": "min_snr", "loss": "huber"},
        {"schedule": "sigmoid", "prediction": "epsilon", "timesteps": 10},
        {"precision": "bf16"},
        {"image_size": 16, "channels": (8, 8, 16), "fit": "pad", "flip": False},
        {"batch_size": 100, "seed": 7},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_every_kind_of_run_trains_and_loads(train, tmp_path, changes):
    run = train(tmp_path / "run", **({"steps": 3, "log_every": 1} | changes))
    assert run.metrics()["loss"].map(math.isfinite).all()
    assert load_model(run).image_shape == run.config.image_shape
    assert _all_finite(run.model_path)


def test_mirroring_is_part_of_what_is_learnt(train, tmp_path, logged):
    runs = [train(tmp_path / str(flip), steps=4, flip=flip) for flip in (False, True)]
    assert logged(runs[0].path) != logged(runs[1].path)


def test_another_seed_is_another_run_and_the_same_seed_the_same(train, tmp_path, logged):
    first, again, other = (train(tmp_path / name, steps=4, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert logged(first.path) == logged(again.path)
    assert logged(first.path) != logged(other.path)
    assert first.model_path.exists()
    for name, tensor in load_file(first.model_path).items():
        assert torch.equal(tensor, load_file(again.model_path)[name])


def test_the_global_random_state_is_left_alone(train, tmp_path, logged):
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    train(tmp_path / "run", steps=2)
    assert torch.equal(torch.rand(3), expected)


# --- however it is split


def _assert_same_losses(one: list[dict], other: list[dict]) -> None:
    assert [row["step"] for row in one] == [row["step"] for row in other]
    for mine, theirs in zip(one, other, strict=True):
        assert mine.keys() == theirs.keys()
        for key in ("loss", "grad_norm", "val_loss", "loss_by_timestep"):
            if key in mine:
                np.testing.assert_allclose(mine[key], theirs[key], rtol=2e-4, atol=1e-5, err_msg=f"{key}, step {mine['step']}")


@pytest.mark.parametrize("accumulation", [2, 4, 8])
def test_accumulation_learns_the_same(train, tmp_path, logged, accumulation):
    whole = train(tmp_path / "whole", steps=8, log_every=1)
    parts = train(tmp_path / "parts", steps=8, log_every=1, accumulation=accumulation)
    _assert_same_losses(logged(whole.path), logged(parts.path))


@pytest.mark.parametrize("unet", ["baseline", "class"])
def test_accumulation_learns_the_same_of_augmented_images(train, tmp_path, logged, unet):
    settings = {"steps": 6, "log_every": 1, "augment": 0.5, "unet": unet}
    whole = train(tmp_path / "whole", **settings)
    parts = train(tmp_path / "parts", **settings, accumulation=2)
    _assert_same_losses(logged(whole.path), logged(parts.path))
    plain = train(tmp_path / "plain", **settings | {"augment": 0.0})
    assert logged(plain.path)[0]["loss"] != logged(whole.path)[0]["loss"]
    assert load_model(whole).denoiser.network.augment.weight.any(), "it has learnt from what it was told"


def test_a_resume_repeats_augmentation_and_dropout(train, make_trainer, small_config, tmp_path, logged):
    config = small_config(steps=8, log_every=1, save_every=4, augment=0.5, dropout=0.3)
    whole = train(tmp_path / "whole", config)
    stopped = make_trainer(tmp_path / "parts", config)
    for _ in range(4):
        stopped.train_step()
    stopped.save()
    resumed = train(tmp_path / "parts", config)
    one, other = load_file(whole.model_path), load_file(resumed.model_path)
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("works", [True, False])
def test_a_compiled_network_learns_the_same_and_one_that_cannot_be_is_trained_as_it_is(
    make_trainer, small_config, tmp_path, logged, monkeypatch, capsys, works
):
    def backend(graph, inputs):
        captured.append(graph)
        if not works:
            raise RuntimeError("no compiler here")
        return graph.forward

    captured = []
    monkeypatch.setattr("torch.compile", partial(torch.compile, backend=backend))
    config = small_config(unet="class", patch_size=2, augment=0.5, steps=4, log_every=1)
    eager, compiled = (make_trainer(tmp_path / name, config) for name in ("eager", "compiled"))
    eager.fit()
    assert not captured
    compiled.fit(compiled=True)
    assert captured
    assert ("compiled the network in" if works else "could not be compiled and is used uncompiled") in capsys.readouterr().out
    assert (compiled.model is compiled.network) != works
    _assert_same_losses(logged(eager.run.path), logged(compiled.run.path))
    one, other = (load_file(trainer.run.model_path) for trainer in (eager, compiled))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-3, atol=1e-4)


# --- stops


def test_a_time_limit_stops_and_saves(command, flags, tmp_path):
    out = tmp_path / "run"
    done = command(
        "pipelines.train", *flags(steps=10_000_000, sample_every=1000, save_every=1000), "--out", out, "--time-limit", 0.01
    )
    assert done.code == 0, done.error
    assert "stopped at step" in done.output
    assert f"--resume {out}" in done.output
    step = int(done.output.split("stopped at step ")[1].split(";")[0])
    assert step >= 1
    assert load_model(out).image_shape == (3, 8, 8)
    assert (out / "state" / "state.safetensors").is_file()


def test_an_interrupt_saves_and_exits_with_130(command, flags, tmp_path, monkeypatch):
    """Of this process; a process of its own is sent SIGTERM by the queue: tests/pipelines/training/test_jobs.py."""
    settings = flags(steps=10_000_000, log_every=1, sample_every=1_000_000, save_every=1_000_000, eval_every=1_000_000)
    out = tmp_path / "run"
    train_step = TrainingLoop.train_step

    def step_and_interrupt(loop):
        train_step(loop)
        if loop.step == 7:
            assert not (out / "model.safetensors").exists()
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TrainingLoop, "train_step", step_and_interrupt)
    done = command("pipelines.train", *settings, "--out", out)
    assert done.code == 130, done.error
    assert "Traceback" not in done.error
    assert "stopped at step 7;" in done.output
    assert _all_finite(out / "model.safetensors")
    assert Run(out).metrics()["step"].max() == 7


def test_signal_handlers_are_given_back(make_trainer, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    trainer = make_trainer(tmp_path / "run", steps=1000)
    threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGTERM)).start()
    assert trainer.fit() is False
    assert trainer.interrupted
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# --- losses that are not numbers


def test_a_nan_loss_stops_with_a_sentence_and_keeps_the_last_good_state(command, flags, tmp_path):
    out = tmp_path / "run"
    settings = flags(lr=1e30, steps=50, warmup_steps=0, save_every=1, log_every=1, sample_every=1000)
    sentence = command("pipelines.train", *settings, "--out", out).refused_in_one_sentence()
    assert "the loss became" in sentence
    step = int(sentence.split("at step ")[1].split(":")[0])
    assert str(out) in sentence
    assert "--lr" in sentence
    assert f"the last good state, of step {step - 1}, is kept" in sentence
    assert _all_finite(out / "model.safetensors")
    assert _all_finite(out / "state" / "state.safetensors")


def test_a_nan_loss_before_the_first_save_says_so(command, flags, tmp_path):
    out = tmp_path / "run"
    settings = flags(lr=1e30, steps=50, warmup_steps=0, save_every=50, log_every=7, eval_every=50, sample_every=50)
    sentence = command("pipelines.train", *settings, "--out", out).refused_in_one_sentence()
    assert "nothing had been saved yet" in sentence
    assert not (out / "model.safetensors").exists()
    assert int(sentence.split("at step ")[1].split(":")[0]) <= 7


@pytest.mark.parametrize("lr", [1e3, 1e16, 1e19, 1e25, 3e38])
def test_whatever_the_learning_rate_no_broken_weights_are_saved(make_trainer, tmp_path, lr):
    """Weights can break in a step whose own loss was still a number."""
    often = {"save_every": 1, "log_every": 1, "sample_every": 1000, "eval_every": 1000}
    trainer = make_trainer(tmp_path / "run", lr=lr, steps=4, warmup_steps=0, **often)
    try:
        trainer.fit()
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017
    for name in ("model.safetensors", "state/state.safetensors"):
        if (tmp_path / "run" / name).exists():
            assert _all_finite(tmp_path / "run" / name)


def test_previews_that_overflow_are_left_out_and_a_broken_average_ends_the_training(make_trainer, tmp_path, capsys):
    trainer = make_trainer(tmp_path / "run")
    trainer.train_step()
    with torch.no_grad():
        for parameter in trainer.network.parameters():
            parameter.fill_(1e20)
    trainer.write_samples()
    assert "no samples of step 1: the network computed NaN or infinite numbers in step 1 of 3" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "run" / "samples").iterdir()] == ["step-00000001.png"]
    assert trainer.network.training
    with torch.no_grad():
        for parameter in trainer.ema.network.parameters():
            parameter.fill_(1e20)
    with pytest.raises(ValueError, match="the loss on held-out images became nan at step 1: training stopped, nothing"):
        trainer.log(evaluate=True)
    assert not trainer.run.has_weights


# --- what is refused


def test_an_existing_folder_is_refused(command, flags, tiny_run, tmp_path):
    before = {path: path.read_bytes() for path in tiny_run.path.rglob("*") if path.is_file()}
    sentence = command("pipelines.train", *flags(), "--out", tiny_run.path).refused_in_one_sentence()
    assert "already exists" in sentence
    assert f"--resume {tiny_run.path}" in sentence
    assert {path: path.read_bytes() for path in tiny_run.path.rglob("*") if path.is_file()} == before
    (tmp_path / "file").write_text("mine")
    assert "already exists" in command("pipelines.train", *flags(), "--out", tmp_path / "file").refused_in_one_sentence()
    assert (tmp_path / "file").read_text() == "mine"


def test_an_empty_folder_may_be_used(command, flags, tmp_path):
    (tmp_path / "run").mkdir()
    assert command("pipelines.train", *flags(steps=1), "--out", tmp_path / "run").code == 0


def test_resuming_with_other_settings_is_refused(command, copied_run, tmp_path):
    for settings in (["--flip", "False"], ["--out", tmp_path / "other"], ["--seed", 5], ["--steps", 99, "--batch-size", 2]):
        refusal = command("pipelines.train", "--resume", copied_run.path, *settings).refused_in_one_sentence()
        assert "--resume takes all settings from the run itself" in refusal
    assert (
        "steps=7: this run has already done 24 steps"
        in command("pipelines.train", "--resume", copied_run.path, "--steps", 7).refused_in_one_sentence()
    )
    assert copied_run.config.optimizer.steps == 24
    assert "no run to resume" in command("pipelines.train", "--resume", tmp_path / "nowhere").refused_in_one_sentence()


REFUSED = {
    "unknown network": ({"unet": "transformer"}, ["transformer", "baseline", "attention"]),
    "unknown schedule": ({"schedule": "quadratic"}, ["quadratic", "linear", "cosine", "sigmoid", "flow"]),
    "unknown loss": ({"loss": "hinge"}, ["hinge", "mse", "l1", "huber"]),
    "unknown prediction": ({"prediction": "score"}, ["score", "epsilon", "x0", "v", "flow"]),
    "unknown weighting": ({"weighting": "p2"}, ["p2", "uniform", "min_snr"]),
    "unknown dataset": ({"data": "flowers"}, ["flowers", "fashion_mnist", "local folder"]),
    "missing folder": ({"data": "/no/such/folder"}, ["/no/such/folder"]),
    "no such split": ({"train_split": "training"}, ["training", "train"]),
    "a side that cannot be halved": ({"image_size": 9}, ["9", "multiples of 2"]),
    "a side that cannot be halved twice": ({"image_size": 6, "channels": (8, 8, 8)}, ["6", "multiples of 4"]),
    "no width": ({"channels": (0, 8)}, ["channels=(0, 8)"]),
    "patches for an autoencoder": ({"model": "autoencoder", "patch_size": 2}, ["--patch-size", "autoencoder"]),
    "no blocks": ({"blocks_per_level": 0}, ["blocks_per_level=0"]),
    "no steps": ({"steps": 0}, ["steps=0"]),
    "no timesteps": ({"timesteps": 0}, ["timesteps=0"]),
    "no batch": ({"batch_size": 0}, ["batch_size=0"]),
    "no learning rate": ({"lr": 0}, ["lr=0"]),
    "learning rate not a number": ({"lr": "nan"}, ["lr=nan"]),
    "uneven accumulation": ({"accumulation": 3}, ["batch_size=8", "accumulation=3"]),
    "negative seed": ({"seed": -1}, ["seed=-1"]),
    "no held out images": ({"held_out_images": 0}, ["held_out_images=0"]),
    "attention in the baseline": ({"attention_levels": (0,)}, ["attention_levels", "baseline"]),
    "a level that is not there": ({"unet": "attention", "attention_levels": (5,)}, ["attention_levels=(5,)", "0 … 1"]),
    "epsilon from pure noise": ({"prediction": "epsilon", "zero_terminal_snr": True}, ["epsilon"]),
    "impossible betas": ({"betas": (0.9, 1.5)}, ["1.5"]),
    "negative weight decay": ({"weight_decay": -1}, ["-1"]),
    "gamma of zero": ({"weighting": "min_snr", "min_snr_gamma": 0}, ["min_snr_gamma=0"]),
}


@pytest.mark.parametrize(("changes", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_done_is_refused_before_anything_is_written(command, flags, tmp_path, changes, words):
    arguments = flags(**{key: value for key, value in changes.items() if key != "zero_terminal_snr"})
    if changes.get("zero_terminal_snr"):
        arguments += ["--zero-terminal-snr", "True"]
    sentence = command("pipelines.train", *arguments, "--out", tmp_path / "run").refused_in_one_sentence()
    for word in words:
        assert word in sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.accelerator.is_available(), reason="fp16 is refused on the CPU only")
def test_fp16_on_the_cpu_is_refused_in_one_sentence(command, flags, tmp_path):
    sentence = command("pipelines.train", *flags(precision="fp16"), "--out", tmp_path / "run").refused_in_one_sentence()
    assert "fp16" in sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "value"), [("--precision", "fp8"), ("--fit", "stretch"), ("--tracker", "comet"), ("--steps", "x")]
)
def test_the_parser_names_what_is_allowed(command, tmp_path, option, value):
    done = command("pipelines.train", option, value, "--out", tmp_path / "run")
    assert done.code == 2
    assert value in done.error
    assert "Traceback" not in done.error


def test_broken_files_are_reported_and_the_rest_is_trained_on(command, flags, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(30):
        Image.new("L", (8, 8), number).save(folder / f"{number}.png")
    for number in range(8):
        (folder / f"broken-{number}.png").write_bytes(b"this is not a picture")
    done = command("pipelines.train", *flags(data=str(folder), steps=1), "--out", tmp_path / "run")
    assert done.code == 0, done.error
    assert "38 files: 30 pictures used (27 to train on, 3 held out), 8 not used" in done.output
    assert done.output.count("not a readable image") == 1  # one line for all, with three of their names
    assert done.output.count("broken-") == 3
    assert load_model(tmp_path / "run").image_shape == (1, 8, 8)
    run = Run(tmp_path / "run")
    kept = (run.path / DATA).read_bytes()
    [group] = read_report(run.path / DATA).unused
    assert sorted(group.paths) == [f"broken-{number}.png" for number in range(8)]
    for number in range(8):
        (folder / f"broken-{number}.png").unlink()
    assert command("pipelines.train", "--resume", run.path).code == 0
    assert (run.path / DATA).read_bytes() == kept  # it says what the run began with


def test_a_full_disk_while_saving_is_one_sentence_and_loses_nothing(command, flags, train, full_disk, monkeypatch):
    out = full_disk.folder / "run"
    save = TrainingLoop.save

    def full_at_the_third_save(loop):
        if loop.step == 12:
            full_disk.fill()
        save(loop)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "save", full_at_the_third_save)
        sentence = command("pipelines.train", *flags(steps=12, save_every=4), "--out", out).refused_in_one_sentence()
    full_disk.free()
    assert "the disk is full while writing" in sentence or "file too large" in sentence
    assert "state.safetensors" in sentence
    assert not list(out.rglob("*.tmp-*"))
    assert _all_finite(out / "model.safetensors")
    resumed = train(out, Run(out).config)
    assert resumed.metrics()["step"].max() == 12


def test_the_default_folder_is_a_new_one(monkeypatch, tmp_path):
    import pipelines.train as program

    monkeypatch.setattr(program, "PRIVATE", tmp_path)
    run, config = program.choose_run(program.Train())
    assert run.path == tmp_path / "fashion_mnist-baseline"
    assert config == RunConfig()
    run.path.mkdir()
    assert program.choose_run(program.Train())[0].path == tmp_path / "fashion_mnist-baseline-2"


@pytest.mark.parametrize("source", ["flowers text", "models/flowers text", "models/flowers text.safetensors"])
def test_a_run_that_starts_from_another_is_named_after_it(tmp_path, source):
    """A regression: it was named after the default network, although its network is the source's."""
    config = RunConfig(data=DataConfig("my drawings"), init=InitConfig(source))
    assert default_name(config, tmp_path) == "my-drawings-from-flowers-text"
    (tmp_path / "my-drawings-from-flowers-text").mkdir()
    assert default_name(config, tmp_path) == "my-drawings-from-flowers-text-2"


def test_grids_of_the_raw_weights_know_no_dropout(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path / "run", dropout=0.5, lr=0.1)
    for _ in range(3):  # the last layers start at zero
        trainer.train_step()
    grids = []
    for _ in range(2):
        trainer.write_samples()
        grids.append((trainer.run.path / "samples" / "step-00000003-raw.png").read_bytes())
    assert grids[0] == grids[1]
    assert trainer.network.training
    assert not trainer.ema.network.training
