"""From a run to a denoiser that is ready to sample."""

from __future__ import annotations

import json
import math
import os
import warnings

import pytest
import torch

import pipelines.models.networks as networks_module
import pipelines.storage.run as run_module
import pipelines.storage.weights as weights_module
from pipelines.common.devices import autocast, best_device, compute_dtype, has_fast_bfloat16
from pipelines.models.loading import load_model
from pipelines.models.networks import make_network
from pipelines.storage.config import ConditionConfig, NetworkConfig, RunConfig
from pipelines.storage.run import Run
from unets import NETWORKS


def test_a_loaded_model_is_ready_to_sample(tiny_run):
    model = load_model(tiny_run.path)
    assert model.name == "tiny"
    assert model.image_shape == (3, 8, 8)
    assert model.config == tiny_run.config
    assert model.fingerprint == tiny_run.fingerprint
    assert model.schedule.num_timesteps == 1000
    assert model.num_parameters == sum(tensor.numel() for tensor in model.denoiser.network.state_dict().values())
    assert model.device.type == best_device().type
    assert not model.denoiser.training
    assert not any(parameter.requires_grad for parameter in model.denoiser.parameters())


@pytest.mark.parametrize("form", [str, lambda path: path, Run, lambda path: path / "model.safetensors"])
def test_a_run_can_be_named_in_several_ways(tiny_run, form):
    assert load_model(form(tiny_run.path)).fingerprint == tiny_run.fingerprint


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.bfloat16])
def test_the_estimate_is_float32_and_within_the_data_range(tiny_run, dtype):
    model = load_model(tiny_run, dtype=dtype)
    assert next(model.denoiser.parameters()).dtype == (dtype or compute_dtype(model.device))
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).to(model.device)
    for t in (0, 500, 999.0, torch.tensor([3, 700])):
        x0 = model.denoiser(x, t)
        assert x0.dtype == torch.float32
        assert x0.shape == x.shape
        assert float(x0.abs().max()) <= 1


def test_precisions_agree(tiny_run):
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    estimates = [load_model(tiny_run, "cpu", dtype).denoiser(x, 500) for dtype in (torch.float32, torch.bfloat16)]
    assert float((estimates[0] - estimates[1]).abs().max()) < 0.05


def test_loading_changes_nothing_on_disk(tiny_run):
    before = {path: path.stat().st_mtime_ns for path in tiny_run.path.rglob("*")}
    load_model(tiny_run)
    assert {path: path.stat().st_mtime_ns for path in tiny_run.path.rglob("*")} == before


def test_a_model_does_not_follow_the_file(copied_run):
    """The weights in memory stay what the fingerprint says, also while training saves new ones."""
    model = load_model(copied_run)
    before = {name: tensor.clone() for name, tensor in model.denoiser.state_dict().items()}
    weights = {
        name: torch.zeros_like(tensor, dtype=torch.float32) for name, tensor in model.denoiser.network.state_dict().items()
    }
    copied_run.write_model(weights, copied_run.config)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.denoiser.state_dict().items())
    assert load_model(copied_run).fingerprint != model.fingerprint


def test_a_configuration_without_an_image_shape_is_refused():
    with pytest.raises(ValueError, match="image_shape"):
        make_network(RunConfig(), seed=0)


@pytest.mark.parametrize("unet", list(NETWORKS))
def test_initial_weights_come_from_the_seed_alone(unet):
    told = ConditionConfig(classes=("a", "b"), text_dim=6)
    config = RunConfig(network=NetworkConfig(unet, (8, 16)), condition=told, image_shape=(1, 8, 8))
    torch.manual_seed(1)
    first = make_network(config, seed=5).state_dict()
    torch.manual_seed(2)
    second, other = make_network(config, seed=5).state_dict(), make_network(config, seed=6).state_dict()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert any(not torch.equal(tensor, other[name]) for name, tensor in first.items())
    assert all(parameter.is_meta for parameter in make_network(config, seed=None).parameters())


def _rewritten_header(run: Run, change) -> None:
    """Change the description of the first weight in the header of a run's model, and lengthen the file to match."""
    content = run.model_path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    first = next(name for name in header if header[name].get("data_offsets", [1])[0] == 0)
    longer = change(header[first])
    for part in (part for name, part in header.items() if name not in ("__metadata__", first)):
        part["data_offsets"] = [offset + longer for offset in part["data_offsets"]]
    header[first]["data_offsets"][1] += longer
    text = json.dumps(header).encode()
    run.model_path.write_bytes(len(text).to_bytes(8, "little") + text + content[start:])
    os.truncate(run.model_path, len(text) + 8 + len(content) - start + longer)  # a file with a hole, which takes no space


def _immense(weight: dict) -> int:
    before = math.prod(weight["shape"])
    weight["shape"] = [2**37]
    return 4 * (2**37 - before)


def _whole_numbers(weight: dict) -> int:
    weight["dtype"] = "I32"
    return 0


@pytest.mark.parametrize(("change", "sentence"), [(_immense, "do not fit the network"), (_whole_numbers, "of the type I32")])
def test_weights_are_refused_by_their_header(copied_run, change, sentence, monkeypatch):
    _rewritten_header(copied_run, change)
    monkeypatch.setattr(networks_module, "read_tensors", None)
    monkeypatch.setattr(run_module, "refuse_too_large", lambda *_: None)
    monkeypatch.setattr(run_module, "_fingerprint", lambda *_: "0")  # it would read the hole
    with pytest.raises(ValueError, match=sentence):
        load_model(copied_run)


def test_a_file_larger_than_the_memory_is_not_read(copied_run):
    _rewritten_header(copied_run, _immense)
    with pytest.raises(ValueError, match=r"reading .* would take about"):
        weights_module.read_tensors(copied_run.model_path)
    with pytest.raises(ValueError, match=r"reading .* would take about"):
        _ = copied_run.fingerprint


@pytest.mark.parametrize("device", ["bogus", "cpu:x"])
def test_an_unknown_device_does_not_pass_silently(tiny_run, device):
    with pytest.raises((ValueError, RuntimeError), match=r"(?i)device"):
        load_model(tiny_run, device)


def test_the_fast_precision_is_one_the_device_has():
    cpu = torch.device("cpu")
    assert (compute_dtype(cpu) is torch.bfloat16) == has_fast_bfloat16(cpu)
    assert compute_dtype(best_device()) is torch.float32 or best_device() == cpu
    assert compute_dtype(torch.device("meta")) is torch.float32


def test_mixed_precision_computes_in_the_fast_one_without_a_warning():
    device = best_device()
    with warnings.catch_warnings(action="error"), autocast(device):
        product = torch.eye(2, device=device) @ torch.eye(2, device=device)
    assert (product.dtype is torch.bfloat16) == has_fast_bfloat16(device)
