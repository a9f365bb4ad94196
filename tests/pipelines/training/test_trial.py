"""The batch size is tried before the first step: whether it fits, the largest that does, and that nothing else changes."""

from __future__ import annotations

import copy
import re

import pytest
import torch

from pipelines.training import trial
from pipelines.training.trial import largest_that_fits, refuse_too_large_batch

LIMITED = """
import re, resource, sys
from dataclasses import replace
import psutil, torch
torch.set_num_threads(1)
torch.backends.mkldnn.enabled = False  # it has errors of its own when memory runs out
from pipelines.common.machine import TooLarge
from pipelines.storage.config import config_from_json
from pipelines.storage.run import Run
from pipelines.training.accelerator import make_accelerator
from pipelines.training.diffusion import DiffusionTask
from pipelines.training.task import TrainingData
from pipelines.training.trial import refuse_too_large_batch

config = config_from_json(sys.argv[1])
images = torch.randint(0, 256, (300, 3, 16, 16), dtype=torch.uint8)
task = DiffusionTask(config, TrainingData.from_images(images))
task.place(make_accelerator(config))

def attempt(resumed=False, **changes):
    task.config = replace(task.config, optimizer=replace(task.config.optimizer, **changes))
    try:
        refuse_too_large_batch(task, resumed)
        print("fits")
    except TooLarge as error:
        print(error)
        return re.findall(r"--batch-size (\\d+), .*--accumulation (\\d+)", str(error))

attempt(batch_size=1)  # all libraries are loaded now
resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 60 * 2**20,) * 2)
[(size, parts)] = attempt(batch_size=240)
attempt(accumulation=int(parts))
attempt(batch_size=int(size) // 2, accumulation=1)
attempt(batch_size=240, resumed=True)
"""


def test_the_largest_that_fits_is_found_and_other_errors_are_not_hidden(monkeypatch):
    collected = []
    monkeypatch.setattr(trial, "clear_device_cache", lambda **how: collected.append(how))
    for limit in range(9):
        tried = []

        def attempt(count, tried=tried, limit=limit):
            tried.append(count)
            if count > limit:
                raise MemoryError

        collected.clear()
        assert largest_that_fits(attempt, 7) == min(limit, 7)
        assert tried[0] == 7
        assert len(tried) <= 4
        assert collected == [{"garbage_collection": count > limit} for count in tried]

    def broken(_count):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        largest_that_fits(broken, 7)


def test_memory_that_really_runs_out_is_told_with_a_batch_that_fits(shell, small_config):
    """The allocator's own error, under a limit on the memory of a process."""
    from pipelines.storage.config import config_to_json

    config = small_config(channels=(16, 16), image_size=16)
    done = shell("-c", LIMITED, config_to_json(config))
    assert done.code == 0, done.error
    fits, told, *in_parts, resumed = done.output.splitlines()
    assert [fits, *in_parts] == ["fits"] * 3
    assert re.match(r"a training step on 240 images at once does not fit into the memory of cpu .*, but one on \d+ does", told)
    assert resumed.endswith("resume on a larger device")


def test_a_trial_leaves_no_trace(make_trainer, tmp_path):
    loop = make_trainer(tmp_path / "run", weighting="learned")
    before = copy.deepcopy(loop.network.state_dict())
    refuse_too_large_batch(loop.task, resumed=False)
    assert all(torch.equal(before[name], tensor) for name, tensor in loop.network.state_dict().items())
    assert all(parameter.grad is None for parameter in loop.network.parameters())
