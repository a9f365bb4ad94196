"""What training and sampling take, told from a configuration alone, and the refusal of what cannot fit."""

from __future__ import annotations

from dataclasses import replace

import psutil
import pytest
import torch

import pipelines.common.devices as devices
from pipelines.common.machine import TooLarge
from pipelines.common.memory import TensorMemory, weight_bytes
from pipelines.models.footprint import _of_one_image, completed, sampling_memory, training_footprint
from pipelines.models.latents import make_autoencoder
from pipelines.models.networks import make_network
from pipelines.storage.config import DataConfig, DiffusionConfig, NetworkConfig, OptimizerConfig, RunConfig
from pipelines.storage.layout import STATE

CPU = torch.device("cpu")
BATCH = 8


def _measured(config) -> int:
    """Bytes alive at once in a training step on real tensors, without copies of the weights."""
    shape = config.image_shape
    images = torch.zeros(BATCH, *shape)
    if config.model == "autoencoder":
        network = make_autoencoder(config.network, shape[0], config.autoencoder.latent_channels, seed=0)
        given = images, torch.zeros(BATCH, *network.latent_shape(*shape[1:]))
    else:
        network = make_network(config, seed=0)
        given = images, torch.zeros(BATCH)
    with TensorMemory() as memory:
        made = network(*given)
        (made[0] if isinstance(made, tuple) else made).square().mean().backward()
    return memory.peak - weight_bytes(network)  # the gradients


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(NetworkConfig("baseline", (16, 32))),
        RunConfig(NetworkConfig("attention", (16, 32), attention_levels=(0, 1))),  # probabilities of 1024² are never kept
        RunConfig(NetworkConfig("class", (16, 32), blocks_per_level=2)),
        RunConfig(NetworkConfig(channels=(16, 32)), model="autoencoder"),
    ],
    ids=lambda config: config.kind,
)
def test_the_estimate_is_what_a_training_step_takes(config):
    config = replace(config, data=DataConfig(image_size=32), optimizer=OptimizerConfig(batch_size=BATCH, precision="no"))
    found, weights = training_footprint(config, CPU), 5 * 4
    taken = found.memory - weights * found.parameters
    assert 0.8 < taken / _measured(completed(config)) < 1.3
    halves = replace(config, optimizer=replace(config.optimizer, accumulation=2))
    assert found.memory - training_footprint(halves, CPU).memory == pytest.approx(taken / 2, rel=1e-3)


def test_another_objective_takes_as_much_and_the_network_is_not_run_again_to_know():
    config = RunConfig(NetworkConfig("baseline", (16, 32)), data=DataConfig(image_size=32))
    found, runs = training_footprint(config, CPU), _of_one_image.cache_info().misses
    assert training_footprint(replace(config, diffusion=DiffusionConfig(schedule="flow", prediction="flow")), CPU) == found
    assert _of_one_image.cache_info().misses == runs


def test_the_parameters_are_those_of_the_trained_model(tiny_run, text_run, latent_run, autoencoder_run):
    for run in (tiny_run, text_run, latent_run, autoencoder_run):
        others = int(run is latent_run or run is autoencoder_run)  # the scale of the latents is no parameter
        assert training_footprint(run.config, CPU).parameters == run.num_parameters - others
        asked = replace(run.config, latent=replace(run.config.latent, latent_network=None, latent_shape=None))
        assert training_footprint(asked, CPU).parameters == run.num_parameters - others


def test_sampling_is_estimated_roughly(tiny_run, class_run):
    for run in (tiny_run, class_run):
        config = run.config
        network = make_network(config, seed=0)
        with torch.no_grad(), TensorMemory() as memory:
            network(torch.zeros(1, *config.state_shape), torch.zeros(1))
        assert 0.5 < sampling_memory(config) / (memory.peak * (1 + config.network.conditional)) < 5


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(NetworkConfig("attention", (4096,) * 4, 8)),
        RunConfig(NetworkConfig("attention", (512,) * 4), data=DataConfig(image_size=1024)),
        RunConfig(optimizer=OptimizerConfig(batch_size=65_536), data=DataConfig(image_size=512)),
    ],
    ids=["a network of 25 G parameters", "large images", "large batches"],
)
def test_numbers_that_are_allowed_each_are_refused_together_before_anything_is_allocated(config):
    process = psutil.Process()
    before = process.memory_info().rss
    with pytest.raises(TooLarge, match="GiB: choose a smaller batch_size, image_size or channels"):
        training_footprint(config, CPU).refuse_beyond_memory()
    assert process.memory_info().rss - before < 2**29


def test_training_that_may_not_fit_is_told_in_words(monkeypatch):
    found = training_footprint(RunConfig(optimizer=OptimizerConfig(batch_size=8)), CPU)
    monkeypatch.setattr(devices, "machine_memory", lambda: found.memory * 3)
    assert found.warning == ""
    monkeypatch.setattr(devices, "machine_memory", lambda: found.memory * 2)
    found.refuse_beyond_memory()
    assert found.warning.startswith("training may not fit into memory: it takes ")


def test_training_is_refused_before_the_images_are_read(make_trainer, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "machine_memory", lambda: 2**15)
    with pytest.raises(TooLarge, match=r"these \d+\.\d k parameters on batches of this size would take about"):
        make_trainer(tmp_path / "run", data="/nowhere")
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_size_that_does_not_fit_the_network_is_refused_before_the_images_are_read(make_trainer, tmp_path):
    with pytest.raises(ValueError, match="multiples of 2"):
        make_trainer(tmp_path / "run", data="/nowhere", image_size=9)


@pytest.mark.parametrize("kind", ["tiny_run", "latent_run"])
def test_a_runs_files_take_the_space_that_was_foreseen(request, kind, train, tmp_path):
    """Never less, so that the refusal is certain, and little more: the headers, which are large in files this small."""
    config = request.getfixturevalue(kind).config
    run = train(tmp_path / "run", replace(config, optimizer=replace(config.optimizer, steps=8, ema_also=(1000,))))
    found = training_footprint(run.config, CPU)
    state, *weights = [(run.path / name).stat().st_size for name in (STATE, "model.safetensors", "ema/1000.safetensors")]
    assert 0.9 < found.files / (2 * state + sum(weights)) < 1  # the state counts twice, while it is replaced
    grids = sum(file.stat().st_size for file in (run.path / "samples").iterdir())
    assert 0.2 * found.pictures < grids < 4 * found.pictures + 2**12  # tiny pictures have headers as large as themselves


def test_a_disk_without_room_for_the_saved_states_is_told_before_the_images_are_read(make_trainer, full_disk):
    with pytest.raises(ValueError, match=r"M parameters take at least \d+ MiB in .*, where \d MiB are free: free some space"):
        make_trainer(full_disk.folder / "run", data="/nowhere", channels=(64, 128))
    assert not list(full_disk.folder.iterdir())
