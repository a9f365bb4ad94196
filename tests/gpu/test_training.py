"""Training on the accelerator: the CPU's losses, exact resumes, mixed precision."""

from __future__ import annotations

import shutil
from itertools import pairwise

import pandas as pd
import pytest
import torch

from pipelines.storage.run import Run
from pipelines.storage.weights import read_tensors

pytestmark = pytest.mark.gpu

TASKS = {
    "pixels": {"unet": "attention", "accumulation": 2},
    "classes, augmented": {"unet": "class", "augment": 0.5},
    "captions": {"unet": "text", "encoder": "CLIP", "templates": ("a {}", "one {}")},
    "latents": {"unet": "class", "image_size": 16, "latent": "AUTOENCODER"},
    "low-rank additions": {"unet": "text", "init_from": "TEXT", "lora_rank": 2, "templates": ("a {}",)},
    "an autoencoder": {"model": "autoencoder", "image_size": 16, "latent_channels": 2},
}


@pytest.fixture(scope="module")
def settings_of(clip_folder, autoencoder_run, lively_text_run):
    """The settings of a task, its places filled in."""
    places = {"CLIP": clip_folder, "AUTOENCODER": autoencoder_run.path, "TEXT": lively_text_run.path}

    def fill(name):
        return {key: str(places.get(value, value)) if value in places else value for key, value in TASKS[name].items()}

    return fill


def moved(part, device):
    """Part of a batch on another device; timesteps stay where they are looked up."""
    return type(part)(
        **{name: value if value is None or name == "t" else value.to(device) for name, value in part._asdict().items()}
    )


@pytest.mark.parametrize("task", TASKS)
def test_the_losses_are_the_cpu_s_on_the_same_batches(
    make_trainer, training_on_the_cpu, accelerator_device, settings_of, tmp_path, task
):
    settings = settings_of(task) | {"log_every": 1, "lr": 3e-3, "ema_half_life": 20, "ema_ramp_up": 1.0}
    with training_on_the_cpu():
        on_cpu = make_trainer(tmp_path / "cpu", **settings)
    batches = []
    take = on_cpu.batches
    on_cpu.batches = lambda: iter(batches.append(list(take())) or batches[-1])
    on_cpu.fit()

    trainer = make_trainer(tmp_path / "device", **settings)
    assert trainer.task.device.type == accelerator_device.type
    assert on_cpu.task.device.type == "cpu"
    trainer.batches = lambda: (moved(part, trainer.task.device) for part in batches[trainer.step])
    trainer.task.data = on_cpu.task.data.to(trainer.task.device)  # the CPU may encode latents in bfloat16
    trainer.fit()
    ours, expected = trainer.run.metrics(), on_cpu.run.metrics()
    assert expected["loss"].nunique() == len(expected)
    for column, tolerance in {"loss": 2e-3, "val_loss": 2e-3, "grad_norm": 1e-2}.items():
        assert ours[column].dropna().tolist() == pytest.approx(expected[column].dropna().tolist(), rel=tolerance), column


RESUMED = {precision: {"unet": "class", "precision": precision} for precision in ("no", "bf16", "fp16")} | {
    "a discriminator": {"model": "autoencoder", "image_size": 16, "adversarial_weight": 0.1, "adversarial_start": 3},
}


@pytest.mark.parametrize("settings", RESUMED.values(), ids=RESUMED.keys())
def test_a_resumed_run_is_exact(train, make_trainer, tmp_path, settings):
    """With cuDNN's deterministic kernels: what is saved and drawn anew leaves nothing to chance."""
    settings = settings | {"steps": 12, "log_every": 1}
    with torch.backends.cudnn.flags(deterministic=True, allow_tf32=torch.backends.cudnn.allow_tf32):
        whole = make_trainer(tmp_path / "whole", **settings)
        save = whole.save

        def save_and_keep():
            save()
            if whole.step == 8:
                shutil.copytree(whole.run.path, tmp_path / "resumed")

        whole.save = save_and_keep
        assert whole.fit()  # unless a signal ends it
        copied = Run(tmp_path / "resumed")
        resumed = train(copied.path, copied.config)
    rows, expected_rows = (run.metrics().drop(columns="seconds") for run in (resumed, whole.run))
    assert rows["step"].tolist() == list(range(1, 13))
    pd.testing.assert_frame_equal(rows, expected_rows, check_exact=True)
    expected = read_tensors(whole.run.model_path)[0]
    for name, tensor in read_tensors(resumed.model_path)[0].items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_learns_what_float32_learns(train, tmp_path, precision):
    settings = {"unet": "attention", "steps": 45, "lr": 3e-3, "eval_every": 15, "log_every": 1}
    mixed, exact = (train(tmp_path / name, precision=name, **settings) for name in (precision, "no"))
    assert mixed.metrics()["loss"].tolist() != exact.metrics()["loss"].tolist()
    assert mixed.metrics()["loss"][0] == pytest.approx(exact.metrics()["loss"][0], rel=1e-2)
    held_out, expected = (run.metrics()["val_loss"].dropna().tolist() for run in (mixed, exact))
    assert all(later < earlier for earlier, later in pairwise(held_out))
    assert held_out[-1] == pytest.approx(expected[-1], rel=0.1)  # the first steps in fp16 may be skipped: their scale is found
    assert {tensor.dtype for tensor in read_tensors(mixed.model_path)[0].values()} == {torch.float32}
