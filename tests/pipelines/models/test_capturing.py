"""Captured calls: which are captured, what is kept, and that nothing but the time changes.

A CPU has no graphs, so :class:`Replayed` stands for one here; ``tests/gpu/test_captured.py`` captures real ones.
"""

from __future__ import annotations

import copy
import logging

import pytest
import torch

from diffusion_core.condition import Condition
from pipelines.models import captured
from pipelines.models.captured import CALLS_BEFORE, GRAPHS, capture_calls
from pipelines.sampling.smaller_batches import within_memory
from unets import build_network
from unets.conditional import attention_maps


class Replayed:
    """A graph of the CPU: like a real one it has one place for its output, and it reads the weights anew."""

    size = 1
    made = 0
    replays = 0
    error: Exception | None = None

    def __init__(self, call, stream, *inputs):
        type(self).made += 1
        if self.error is not None:
            raise self.error
        self.nbytes = self.size
        self._call, self._output = call, call(*inputs)

    def replay(self, *inputs):
        type(self).replays += 1
        return self._output.copy_(self._call(*inputs)).clone()


@pytest.fixture(autouse=True)
def graphs(monkeypatch):
    """The class of graphs on this pretended GPU."""

    class Graph(Replayed):
        pass

    monkeypatch.setattr(captured, "Graph", Graph)
    monkeypatch.setattr(captured, "new_stream", lambda device: None)
    monkeypatch.setattr(captured, "can_replay", lambda x_t: not torch.is_grad_enabled())
    GRAPHS.clear()
    with torch.no_grad():
        yield Graph
    GRAPHS.clear()


def network(seed=0, unet="text", **options):
    given = {"text_dim": 6} if unet == "text" else {}
    made = build_network(unet, seed=seed, channels=(8, 16), attention_levels=(1,), **given, **options)
    for parameter in made.parameters():  # layers that start at zero would hide the condition
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    return made.eval()


def condition(batch, tokens=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    return Condition(tokens=torch.randn(batch, tokens, 6, generator=random), mask=torch.ones(batch, tokens, dtype=torch.bool))


def inputs(batch=2, seed=0, **words):
    x_t = torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return x_t, torch.tensor([float(10 * seed)]), condition(batch, seed=seed, **words)


def call_often(net, *given):
    for _ in range(CALLS_BEFORE + 1):
        made = net(*given)
    return made


def test_calls_are_replayed_after_a_few_and_return_the_same(graphs):
    plain = network()
    net = copy.deepcopy(plain)
    capture_calls(net)
    kept = []
    for number in range(CALLS_BEFORE + 3):
        kept.append(net(*inputs(seed=number)))
        assert graphs.made == (number >= CALLS_BEFORE)
    assert graphs.replays == 3
    for number, output in enumerate(kept):  # also after the replays that followed
        assert torch.equal(output, plain(*inputs(seed=number)))


def test_each_kind_of_input_has_its_own_graph(graphs):
    net = network()
    capture_calls(net)
    kinds = [inputs(), inputs(batch=3), inputs(tokens=4), (*inputs()[:2], None), (inputs()[0], torch.zeros(2), inputs()[2])]
    for kind in kinds:
        call_often(net, *kind)
    assert graphs.made == len(GRAPHS) == len(kinds)
    net.load_state_dict({name: weight.clone() for name, weight in network(seed=1).state_dict().items()}, assign=True)
    assert torch.equal(call_often(net, *inputs()), network(seed=1)(*inputs()))
    assert graphs.made == len(kinds) + 1


def test_a_gradient_attention_training_and_a_kind_that_comes_rarely_stay_eager(graphs):
    net = network()
    capture_calls(net)
    with torch.enable_grad():
        x_t = inputs()[0].requires_grad_()
        call_often(net, x_t, *inputs()[1:]).sum().backward()
    assert x_t.grad.abs().max() > 0
    with attention_maps(net) as maps:
        call_often(net, *inputs())
    assert len(maps) % (CALLS_BEFORE + 1) == 0
    assert maps
    call_often(net.train(), *inputs())
    net.eval()
    for batch in range(1, 9):
        for _ in range(CALLS_BEFORE):
            net(*inputs(batch))
    assert graphs.made == 0


def test_hooks_of_the_network_interrupt_replays(graphs):
    net = network()
    capture_calls(net)
    call_often(net, *inputs())

    def stop(*_):
        raise KeyboardInterrupt

    handle = net.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        net(*inputs())
    handle.remove()
    assert torch.equal(net(*inputs(seed=4)), network()(*inputs(seed=4)))


def test_the_least_recently_used_go_beyond_the_number(graphs, monkeypatch):
    monkeypatch.setattr(captured, "MOST_GRAPHS", 2)
    net = network()
    capture_calls(net)
    for batch in (1, 2, 1, 3):
        call_often(net, *inputs(batch))
    assert (graphs.made, len(GRAPHS)) == (3, 2)
    net(*inputs(1))
    assert graphs.made == 3
    for _ in range(CALLS_BEFORE):
        net(*inputs(2))
    assert graphs.made == 3  # an evicted one has to pay again
    assert torch.equal(net(*inputs(2)), network()(*inputs(2)))
    assert graphs.made == 4


def test_the_least_recently_used_go_beyond_the_memory(graphs, monkeypatch):
    monkeypatch.setattr(captured, "MOST_BYTES", 100)
    graphs.size = 40
    nets = [network(seed) for seed in range(3)]
    for net in nets:
        capture_calls(net)
        call_often(net, *inputs())
    assert (graphs.made, len(GRAPHS), GRAPHS.nbytes) == (3, 2, 80)
    replays = graphs.replays
    for net in reversed(nets):
        net(*inputs())
    assert graphs.replays == replays + 2


def test_a_graph_too_large_for_the_memory_is_not_kept_nor_tried_again(graphs, monkeypatch, caplog):
    monkeypatch.setattr(captured, "MOST_BYTES", 10 * 2**20)
    net, other = network(), network(1)
    for each in (net, other):
        capture_calls(each)
    call_often(other, *inputs())
    graphs.size = 11 * 2**20
    for _ in range(3):
        assert torch.equal(call_often(net, *inputs()), network()(*inputs()))
    assert (graphs.made, len(GRAPHS)) == (2, 1)
    assert [record.message for record in caplog.records] == [
        "a network is called without a CUDA graph for (2, 3, 8, 8): its graph takes 11 MiB, and 10 MiB are allowed"
    ]


def test_a_capture_that_fails_leaves_the_eager_call_and_one_line(graphs, caplog):
    graphs.error = RuntimeError("operation not permitted when stream is capturing")
    net = network()
    capture_calls(net)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert torch.equal(call_often(net, *inputs()), network()(*inputs()))
    assert graphs.made == 1
    [record] = caplog.records
    assert "not permitted" in record.message
    graphs.error = None
    call_often(net, *inputs(batch=3))
    assert len(GRAPHS) == 1


def test_graphs_go_first_when_memory_is_short(graphs, caplog):
    plain, net, other = network(), network(), network(1)
    for each in (net, other):
        capture_calls(each)
    call_often(other, *inputs())
    graphs.error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    assert torch.equal(call_often(net, *inputs()), plain(*inputs()))
    assert (graphs.made, len(GRAPHS)) == (2, 0)
    assert "out of memory" in caplog.text
    graphs.error = None
    call_often(other, *inputs())
    assert len(GRAPHS) == 1
    full = iter([True])

    def once(*_):
        if next(full, False):
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = net.stem.register_forward_pre_hook(once)
    assert torch.equal(net(*inputs()), plain(*inputs()))
    assert len(GRAPHS) == 0
    handle.remove()


def test_batches_shrink_only_after_the_graphs_have_gone(graphs):
    net = network()
    capture_calls(net)
    call_often(net, *inputs())
    tried = []

    def compute(at_once):
        tried.append((at_once, len(GRAPHS)))
        call_often(net, *inputs())
        if len(tried) < 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    assert len(list(within_memory(torch.device("cpu"), 8, compute))) == 1
    assert tried == [(8, 1), (8, 0), (4, 0), (2, 0)]


def test_the_graphs_of_a_model_go_with_it(graphs):
    net, other = network(), network(1)
    for each in (net, other):
        capture_calls(each)
        call_often(each, *inputs())
    assert len(GRAPHS) == 2
    del each, net
    assert len(GRAPHS) == 1
    assert torch.equal(other(*inputs(seed=3)), network(1)(*inputs(seed=3)))


def test_a_copy_has_its_own_weights_and_graphs(graphs):
    net = network()
    capture_calls(net)
    call_often(net, *inputs())
    other = copy.deepcopy(net)
    other.load_state_dict(network(1).state_dict())
    assert torch.equal(call_often(other, *inputs()), network(1)(*inputs()))
    assert torch.equal(net(*inputs()), network()(*inputs()))
    assert len(GRAPHS) == 2


def test_a_cpu_has_no_graphs(monkeypatch):
    monkeypatch.undo()
    assert not captured.can_replay(torch.zeros(1, 3, 8, 8))
