"""The accelerator, and models that are the same on it and on the CPU."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pipelines.models.loading import LoadedModel

LIVELY = {"steps": 96, "lr": 1e-2}  # enough for samples that depend on the seed, the class and the prompt


@pytest.fixture(scope="session", autouse=True)
def accelerator_device():
    """The accelerator; without one, every test of this folder is skipped."""
    from pipelines.common.devices import best_device

    device = best_device()
    if device.type == "cpu":
        pytest.skip("no accelerator on this machine")
    return device


@pytest.fixture(scope="session")
def lively_text_run(train, clip_folder, tmp_path_factory):
    """A text-conditional U-Net of the shapes, attending at both levels."""
    out = tmp_path_factory.mktemp("runs") / "lively-text"
    settings = {"attention_levels": (0, 1), "encoder": str(clip_folder), "templates": ("a {}",)}
    return train(out, unet="text", **settings, **LIVELY)


@pytest.fixture(scope="session")
def lively_latent_run(train, autoencoder_run, tmp_path_factory):
    """A class-conditional U-Net of latents."""
    out = tmp_path_factory.mktemp("runs") / "lively-latent"
    return train(out, unet="class", image_size=16, latent=str(autoencoder_run.path), **LIVELY)


@dataclass(frozen=True)
class Twins:
    """The same float32 model twice."""

    on_cpu: LoadedModel
    on_device: LoadedModel


@pytest.fixture(scope="session")
def twins(accelerator_device):
    """Loads a run on the CPU and on the accelerator."""
    import torch

    from pipelines.models.loading import load_model

    def load(run):
        return Twins(*(load_model(run, device, torch.float32) for device in ("cpu", accelerator_device)))

    return load


@pytest.fixture(scope="session")
def training_on_the_cpu():
    """Trainers that are made inside ``with training_on_the_cpu():`` leave the accelerator alone."""

    @contextmanager
    def choose():
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(os.environ, "ACCELERATE_TORCH_DEVICE", "cpu")  # read when Accelerate's state is made
            yield

    return choose
