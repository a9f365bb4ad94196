"""The memory count: what is alive at once, not what has been made in all."""

import subprocess
import sys

import torch

from pipelines.common.memory import TensorMemory, weight_bytes
from pipelines.storage.files import ROOT


def test_what_is_freed_no_longer_counts():
    with TensorMemory() as memory:
        for _ in range(10):
            x = torch.zeros(1000)
            del x
    assert memory.peak == 4000


def test_what_is_kept_adds_up_and_views_are_free():
    with TensorMemory() as memory:
        kept = [torch.zeros(1000) for _ in range(10)]
        views = [tensor.view(10, 100)[:, ::2] for tensor in kept]
    assert memory.peak == 40_000
    assert len(views) == 10


def test_work_in_place_is_free_and_what_was_there_before_is_not_counted():
    x = torch.ones(1000)
    with TensorMemory() as memory:
        y = x * 2
        y.add_(1)
    assert memory.peak == 4000


def test_weights_are_counted_in_their_precision():
    network = torch.nn.Linear(10, 3)
    assert weight_bytes(network) == 132
    assert weight_bytes(network.bfloat16()) == 66


def test_counting_does_not_load_the_compiler():
    """A regression: loading it took seconds, which counted as the first column's time."""
    code = (
        "import sys, torch; from pipelines.common.memory import TensorMemory\n"
        "with TensorMemory() as memory: torch.zeros(8) + 1\n"
        "assert memory.peak >= 32; assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
