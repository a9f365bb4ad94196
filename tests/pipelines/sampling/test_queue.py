"""The queue behind the dashboard: it computes what sampling computes, remembers it, and outlives every failure."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

import pipelines.common.devices as devices
import pipelines.common.machine as machine
import pipelines.models.loading as model_module
import pipelines.sampling.generation as generation
import pipelines.sampling.prompts as prompts
import pipelines.sampling.queue as queue_module
import pipelines.sampling.sample as sample_module
import pipelines.sampling.trajectory as trajectory_module
from pipelines.common.device_lock import DEVICE
from pipelines.common.images import png_bytes, to_uint8
from pipelines.common.memory import weight_bytes
from pipelines.models.footprint import sampling_memory
from pipelines.models.loading import MODELS_KEPT, load_model, loaded_model
from pipelines.sampling.generation import Comparison, Frame
from pipelines.sampling.origins import BetweenPictures, BetweenSeeds, FromInversion, FromPicture
from pipelines.sampling.queue import GenerationQueue
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import MAX_FRAMES, sample
from pipelines.sampling.trajectory import TrajectoryJob, trajectory
from pipelines.storage.run import Run

REQUEST = SamplingRequest(num_images=3, seed=2, steps=4)
ONE_PIXEL = np.zeros((1, 1, 1, 1), np.uint8)
LONG = SamplingRequest(num_images=2, seed=9, steps=1000, sampler="ddim")


def _known(comparison) -> list[bool]:
    """Which columns were answered from what had been computed before; to be asked while the queue is held up."""
    return [column.finished for column in comparison.columns]


def _refuse(*_arguments, **_options):
    raise RuntimeError("the network was touched")


def _train_on(run: Run) -> None:
    """Other weights, as if training went on."""
    network = load_model(run, device="cpu", dtype=torch.float32).denoiser.network
    run.write_model({name: tensor * 1.1 for name, tensor in network.state_dict().items()}, run.config)


@pytest.fixture
def queue():
    loaded_model.cache_clear()
    yield GenerationQueue()
    loaded_model.cache_clear()


@pytest.fixture(scope="module")
def second_run(train, tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "second", unet="attention", steps=4)


@pytest.fixture
def finish(wait_for):
    """Waits until a comparison is neither queued nor running."""

    def wait(*comparisons):
        wait_for(lambda: not any(comparison.active for comparison in comparisons), 60)

    return wait


@pytest.fixture
def busy(queue, tiny_run):
    """The queue is held up by a long comparison until it is cancelled."""
    comparison = queue.submit(Comparison.of([(tiny_run, LONG)]))
    while not comparison.columns[0].frames:
        time.sleep(0.001)
    yield comparison
    comparison.cancel()


def test_the_queue_makes_what_sampling_makes(queue, finish, tiny_run, second_run):
    comparison = queue.submit(Comparison.of([(tiny_run, REQUEST), (second_run, REQUEST)]))
    finish(comparison)
    assert comparison.status == "done"
    assert comparison.error == ""
    for column in comparison.columns:
        model = load_model(column.run)
        assert column.finished
        assert column.fingerprint == model.fingerprint
        assert column.num_parameters == model.num_parameters
        steps = list(sample(model, REQUEST))
        assert len(column.frames) == len(steps) == 5
        for frame, step in zip(column.frames, steps, strict=True):
            assert np.array_equal(frame.x, to_uint8(step.x))
            assert np.array_equal(frame.x0, to_uint8(step.x0))
            assert (frame.timestep, frame.nfe) == (step.timestep, step.nfe)
        seconds = [frame.seconds for frame in column.frames]
        assert seconds == sorted(seconds)
        assert column.images_per_second == pytest.approx(3 / seconds[-1])


def test_whoever_waits_for_a_comparison_is_woken_by_its_end(queue, tiny_run):
    comparison = queue.submit(Comparison.of([(tiny_run, REQUEST)]))
    queue.wait(comparison, 120)
    assert comparison.status == "done"


def test_waiting_for_a_comparison_ends_in_time(queue, busy):
    queue.wait(busy, 0.01)
    assert busy.active


def test_the_columns_start_from_the_same_noise(queue, finish, tiny_run, second_run):
    comparison = queue.submit(Comparison.of([(tiny_run, REQUEST), (second_run, REQUEST)]))
    finish(comparison)
    first, second = comparison.columns
    assert np.array_equal(first.frames[0].x, second.frames[0].x)
    assert not np.array_equal(first.frames[-1].x, second.frames[-1].x)


def test_columns_start_where_they_are_told(queue, finish, tiny_run):
    """From one picture with three strengths, one of them by inversion: told apart, as sampling makes them, and remembered."""
    picture = png_bytes(np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8))
    request = SamplingRequest(2, steps=6, sampler="ddim")
    origins = [FromPicture(picture, 0.5), FromPicture(picture, 1.0), FromInversion(picture, strength=0.5)]
    columns = [(tiny_run, request, origin) for origin in origins]
    comparison = queue.submit(Comparison.of(columns))
    finish(comparison)
    assert comparison.status == "done", comparison.error
    model = load_model(tiny_run)
    for origin, column in zip(origins, comparison.columns, strict=True):
        steps = list(sample(model, request, origin=origin))
        assert column.num_steps == len(steps) - 1
        assert [frame.nfe for frame in column.frames] == [step.nfe for step in steps]
        assert np.array_equal(column.frames[-1].x, to_uint8(steps[-1].x))
    assert [column.num_steps for column in comparison.columns] == [3, 6, 3]
    assert queue.submit(Comparison.of(columns)).status == "done"
    from_noise = queue.submit(Comparison.of([(tiny_run, request)]))
    assert from_noise.status != "done"
    finish(from_noise)


def test_cancelling_an_inversion_takes_effect_within_one_network_call(queue, finish, tiny_run):
    picture = png_bytes(np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8))
    network = loaded_model(tiny_run, tiny_run.fingerprint).denoiser.network
    comparison, calls = None, []

    def count(*_):
        calls.append(1)
        if len(calls) == 4:
            comparison.cancel()

    handle = network.register_forward_hook(count)
    with DEVICE:
        wish = (tiny_run, SamplingRequest(1, steps=20, sampler="ddim"), FromInversion(picture))
        comparison = queue.submit(Comparison.of([wish]))
    finish(comparison)
    handle.remove()
    assert comparison.status == "cancelled"
    assert len(calls) == 4


@pytest.mark.parametrize("pictures", ["one", "two"])
def test_a_comparison_says_that_it_inverts_a_picture_before_its_first_step(pictures, queue, finish, tiny_run):
    """Which takes three network calls a step."""
    picture = png_bytes(np.zeros((9, 9, 3), np.uint8))
    origin = FromInversion(picture) if pictures == "one" else BetweenPictures(picture, picture, (0.5,))
    network = loaded_model(tiny_run, tiny_run.fingerprint).denoiser.network
    told = []
    with DEVICE:
        comparison = queue.submit(Comparison.of([(tiny_run, SamplingRequest(1, steps=3, sampler="ddim"), origin)]))
        handle = network.register_forward_hook(lambda *_: told.append(comparison.preparing))
    finish(comparison)
    handle.remove()
    assert list(dict.fromkeys(told)) == [origin.preparation, ""]
    assert told.count("") == 3


def test_cancelling_while_images_are_decoded_takes_effect_within_one_network_call(queue, finish, latent_run):
    decoder = loaded_model(latent_run, latent_run.fingerprint).autoencoder.decoder
    comparison, calls = None, []

    def cancel(*_):
        calls.append(1)
        comparison.cancel()

    handle = decoder.register_forward_hook(cancel)
    with DEVICE:
        comparison = queue.submit(Comparison.of([(latent_run, SamplingRequest(num_images=40, steps=2))]))
    finish(comparison)
    handle.remove()
    assert comparison.status == "cancelled"
    assert len(calls) == 1


@pytest.mark.parametrize("kind", ["comparison", "trajectory"])
def test_a_job_says_what_it_loads_first(kind, queue, finish, text_run, monkeypatch):
    told, request = [], SamplingRequest(1, steps=2, prompt=("a circle",))
    module = generation if kind == "comparison" else trajectory_module
    with DEVICE:
        job = queue.submit(
            Comparison.of([(text_run, request)]) if kind == "comparison" else TrajectoryJob(text_run, request, (0,))
        )
        for place, name in ((module, "loaded_model"), (prompts, "condition_notes")):
            load = getattr(place, name)
            monkeypatch.setattr(place, name, lambda *asked, load=load: told.append(job.preparing) or load(*asked))
    finish(job)
    assert job.status == "done"
    assert told == [f"Loading the model {text_run.name}", "Loading the text encoder"]
    assert job.preparing == ""


def test_the_time_left_is_that_of_the_steps_left_at_the_pace_so_far(monkeypatch, tiny_run):
    """Two columns in turn, 20 steps of 1 s and 50 of 3 s; loading the models before took long."""
    clock = 0.0
    monkeypatch.setattr(queue_module.time, "monotonic", lambda: clock)
    comparison = Comparison.of([(tiny_run, SamplingRequest(1, steps=steps)) for steps in (20, 50)])
    left = []
    clock = 100.0
    for index in range(51):
        for column, seconds in zip(comparison.columns, (1.0, 3.0), strict=True):
            if index <= column.num_steps:
                clock += seconds
                column.frames.append(Frame(index, 0.0, 0.0, ONE_PIXEL, ONE_PIXEL, index, column.seconds + seconds))
        comparison.note_step()
        left.append(comparison.seconds_left)
    assert left[0] is None
    expected = [3 * (50 - index) + max(0, 20 - index) for index in range(1, 51)]
    assert left[1:] == pytest.approx(expected, rel=0.1, abs=1e-6)


def test_columns_of_different_length_all_finish(queue, finish, tiny_run):
    requests = [SamplingRequest(1, steps=steps, sampler=sampler) for steps, sampler in ((1, "heun"), (7, "ddpm"), (3, "ipndm"))]
    comparison = queue.submit(Comparison.of([(tiny_run, request) for request in requests]))
    finish(comparison)
    assert comparison.status == "done"
    assert [len(column.frames) for column in comparison.columns] == [2, 8, 4]


def test_the_same_request_again_is_there_without_the_network(queue, finish, tiny_run, monkeypatch):
    first = queue.submit(Comparison.of([(tiny_run, REQUEST)]))
    finish(first)
    loaded_model.cache_clear()
    monkeypatch.setattr(model_module, "load_model", _refuse)
    monkeypatch.setattr(generation, "sample", _refuse)
    before = time.perf_counter()
    again = queue.submit(Comparison.of([(Run(str(tiny_run.path)), SamplingRequest(num_images=3, seed=2, steps=4))]))
    assert time.perf_counter() - before < 0.3
    assert again.status == "done"
    assert again.columns[0].num_parameters == first.columns[0].num_parameters
    for mine, theirs in zip(again.columns[0].frames, first.columns[0].frames, strict=True):
        assert np.array_equal(mine.x, theirs.x)
    assert again.columns[0].peak_memory == first.columns[0].peak_memory > 0


def test_one_known_column_beside_a_new_one(queue, finish, tiny_run, second_run):
    finish(queue.submit(Comparison.of([(tiny_run, REQUEST)])))
    busy = queue.submit(Comparison.of([(tiny_run, LONG)]))
    comparison = queue.submit(Comparison.of([(tiny_run, REQUEST), (second_run, REQUEST)]))
    assert _known(comparison) == [True, False]
    busy.cancel()
    finish(comparison)
    assert comparison.status == "done"
    assert all(column.finished for column in comparison.columns)


def test_another_request_or_other_weights_are_computed_anew(queue, finish, copied_run):
    first = queue.submit(Comparison.of([(copied_run, REQUEST)]))
    finish(first)
    other = queue.submit(Comparison.of([(copied_run, SamplingRequest(num_images=3, seed=3, steps=4))]))
    assert other.status != "done" or not np.array_equal(other.columns[0].frames[-1].x, first.columns[0].frames[-1].x)
    finish(other)
    _train_on(copied_run)
    changed = queue.submit(Comparison.of([(copied_run, REQUEST)]))
    finish(changed)
    assert not np.array_equal(changed.columns[0].frames[-1].x, first.columns[0].frames[-1].x)


def test_the_cache_is_bounded(queue, finish, tiny_run, monkeypatch):
    monkeypatch.setattr(queue_module, "CACHE_BYTES", 5000)  # three images of 192 bytes twice, in five frames: 5,760 bytes
    for seed in (1, 2):
        finish(queue.submit(Comparison.of([(tiny_run, SamplingRequest(3, seed, steps=4))])))
    monkeypatch.setattr(generation, "loaded_model", _refuse)
    assert queue.submit(Comparison.of([(tiny_run, SamplingRequest(3, 2, steps=4))])).status == "done"
    forgotten = queue.submit(Comparison.of([(tiny_run, SamplingRequest(3, 1, steps=4))]))
    finish(forgotten)
    assert forgotten.status == "failed"  # it had to be computed again, and could not
    monkeypatch.undo()
    evicted = queue.submit(Comparison.of([(tiny_run, SamplingRequest(3, 1, steps=4))]))
    finish(evicted)
    assert evicted.status == "done"


def test_what_was_asked_for_again_is_kept_longest(queue, finish, tiny_run, monkeypatch):
    monkeypatch.setattr(queue_module, "CACHE_BYTES", 12_000)  # two of 5,760 bytes
    for seed in (1, 2, 1, 3):
        finish(queue.submit(Comparison.of([(tiny_run, SamplingRequest(3, seed, steps=4))])))
    monkeypatch.setattr(generation, "loaded_model", _refuse)
    known = [queue.submit(Comparison.of([(tiny_run, SamplingRequest(3, seed, steps=4))])) for seed in (1, 2, 3)]
    finish(*known)
    assert [job.status for job in known] == ["done", "failed", "done"]


def test_of_many_steps_some_frames_are_kept(queue, finish, tiny_run, monkeypatch):
    monkeypatch.setattr(sample_module, "MAX_FRAMES", 4)
    request = SamplingRequest(1, steps=12, sampler="ddim")
    comparison = queue.submit(Comparison.of([(tiny_run, request)]))
    finish(comparison)
    frames = comparison.columns[0].frames
    assert [frame.index for frame in frames] == [0, 4, 8, 12]
    *_, last = sample(load_model(tiny_run), request)
    assert np.array_equal(frames[-1].x, to_uint8(last.x))
    assert comparison.columns[0].finished
    assert queue.submit(Comparison.of([(tiny_run, request)])).status == "done"


def test_cancelling_keeps_the_frames_and_the_queue_goes_on(queue, busy, finish, tiny_run):
    following = queue.submit(Comparison.of([(tiny_run, REQUEST)]))
    busy.cancel()
    finish(busy, following)
    assert busy.status == "cancelled"
    assert 1 <= len(busy.columns[0].frames) < MAX_FRAMES
    assert not busy.columns[0].finished
    assert following.status == "done"
    kept = len(busy.columns[0].frames)
    anew = queue.submit(Comparison.of([(tiny_run, LONG)]))
    assert anew.status != "done"  # half a result is no result
    anew.cancel()
    assert len(busy.columns[0].frames) == kept


def test_cancelling_takes_effect_within_one_network_call(queue, finish, wait_for, tiny_run):
    """Also in the middle of a step of heun, which makes two."""
    network = loaded_model(tiny_run, tiny_run.fingerprint).denoiser.network
    comparison, calls = None, []

    def count(*_):
        calls.append(1)
        if len(calls) == 4:  # the first of a step's two, after a first step of one and a step of two
            comparison.cancel()

    handle = network.register_forward_hook(count)
    with DEVICE:  # until the comparison has its name
        comparison = queue.submit(Comparison.of([(tiny_run, SamplingRequest(num_images=2, steps=20, sampler="heun"))]))
    finish(comparison)  # at once, while the network is still being called
    wait_for(lambda: not network._forward_pre_hooks)
    handle.remove()
    assert comparison.status == "cancelled"
    assert len(calls) == 4


def test_cancelling_what_waits_means_it_is_never_computed(queue, busy, finish, tiny_run):
    requests = (REQUEST, SamplingRequest(1, steps=2))
    waiting, following = (queue.submit(Comparison.of([(tiny_run, request)])) for request in requests)
    waiting.cancel()
    assert waiting.status == "cancelled"
    assert queue.position(following) == 1
    busy.cancel()
    finish(following)
    assert waiting.columns[0].frames == []
    assert following.status == "done"


def test_cancelling_what_is_done_changes_nothing(queue, finish, tiny_run):
    comparison = queue.submit(Comparison.of([(tiny_run, REQUEST)]))
    finish(comparison)
    comparison.cancel()
    assert comparison.status == "done"


def test_what_nobody_waits_for_any_more_is_given_up(queue, finish, tiny_run, monkeypatch):
    monkeypatch.setattr(queue_module, "GRACE", 0.3)
    there = {"first": True, "second": False}
    first = queue.submit(Comparison.of([(tiny_run, LONG)], lambda: there["first"]))
    second = queue.submit(Comparison.of([(tiny_run, LONG)], lambda: there["second"]))
    time.sleep(0.6)
    assert first.active
    there["first"] = False
    finish(first, second)
    assert first.status == "cancelled"
    assert second.status == "cancelled"
    assert len(second.columns[0].frames) <= 1
    back = queue.submit(Comparison.of([(tiny_run, REQUEST)], lambda: True))
    finish(back)
    assert back.status == "done"


def test_a_short_absence_is_forgiven(queue, finish, tiny_run):
    absent = iter([False] * 3)
    comparison = queue.submit(Comparison.of([(tiny_run, REQUEST)], lambda: next(absent, True)))
    finish(comparison)
    assert comparison.status == "done"


def test_the_position_counts_those_ahead(queue, busy, finish, tiny_run):
    waiting = [queue.submit(Comparison.of([(tiny_run, SamplingRequest(1, seed, steps=2))])) for seed in range(3)]
    assert queue.position(busy) == 0
    assert [queue.position(comparison) for comparison in waiting] == [1, 2, 3]
    assert all(comparison.status == "queued" and comparison.active for comparison in waiting)
    busy.cancel()
    finish(*waiting)
    assert [queue.position(comparison) for comparison in waiting] == [0, 0, 0]


def _delete(run: Run) -> None:
    run.model_path.unlink()


def _truncate(run: Run) -> None:
    run.model_path.write_bytes(run.model_path.read_bytes()[:500])


def _replace_by_pickle(run: Run) -> None:
    torch.save({"weights": 1}, run.model_path)


def _remove_folder(run: Run) -> None:
    run.delete()


@pytest.mark.parametrize("damage", [_delete, _truncate, _replace_by_pickle, _remove_folder])
def test_a_run_damaged_while_it_waits_fails_alone(queue, busy, finish, copied_run, tiny_run, damage):
    doomed = queue.submit(Comparison.of([(tiny_run, REQUEST), (copied_run, SamplingRequest(1, steps=2))]))
    following = queue.submit(Comparison.of([(tiny_run, SamplingRequest(1, 5, steps=2))]))
    damage(copied_run)
    busy.cancel()
    finish(doomed, following)
    assert doomed.status == "failed"
    assert doomed.error
    assert "\n" not in doomed.error
    assert "Traceback" not in doomed.error
    assert following.status == "done"


def test_a_run_without_weights_is_refused_at_once(queue, copied_run):
    copied_run.model_path.unlink()
    with pytest.raises(ValueError, match="no weights yet"):
        queue.submit(Comparison.of([(copied_run, REQUEST)]))


def test_a_request_that_cannot_be_met_fails_with_a_sentence(queue, finish, tiny_run):
    comparison = queue.submit(Comparison.of([(tiny_run, SamplingRequest(steps=1001))]))
    following = queue.submit(Comparison.of([(tiny_run, SamplingRequest(1, steps=1))]))
    finish(comparison, following)
    assert comparison.status == "failed"
    assert "1001" in comparison.error
    assert following.status == "done"


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), MemoryError(), KeyError("weight")])
def test_whatever_goes_wrong_is_told_and_the_queue_goes_on(queue, finish, tiny_run, monkeypatch, error):
    real = generation.sample

    def fails_once(model, request, *where):
        if request.seed == 99:
            raise error
        return real(model, request, *where)

    monkeypatch.setattr(generation, "sample", fails_once)
    failing, following = (queue.submit(Comparison.of([(tiny_run, SamplingRequest(1, seed, steps=2))])) for seed in (99, 1))
    finish(failing, following)
    assert failing.status == "failed"
    assert failing.error.strip()
    assert following.status == "done"


class ShortOfMemory:
    """Sampling on a device whose memory holds the activations of ``limit`` images, full at some later step."""

    def __init__(self, limit, full_at=0):
        self.limit, self.full_at, self.sizes = limit, full_at, []

    def __call__(self, model, request, images, origin):
        self.sizes.append(len(images))
        for step in sample(model, request, images, origin):
            if len(images) > self.limit and step.index >= self.full_at:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
            yield step


@pytest.mark.parametrize("full_at", [0, 2])
def test_short_of_memory_smaller_parts_make_the_same_images(queue, finish, tiny_run, monkeypatch, full_at):
    request = SamplingRequest(num_images=7, seed=4, steps=4)
    expected = [to_uint8(step.x) for step in sample(load_model(tiny_run), request)]
    short = ShortOfMemory(2, full_at)
    monkeypatch.setattr(generation, "sample", short)
    comparison = queue.submit(Comparison.of([(tiny_run, request)]))
    finish(comparison)
    assert comparison.status == "done"
    assert short.sizes[-4:] == [2, 2, 2, 1]
    assert max(short.sizes[1:]) == 4
    assert [frame.index for frame in comparison.columns[0].frames] == [0, 1, 2, 3, 4]
    for frame, images in zip(comparison.columns[0].frames, expected, strict=True):
        assert np.abs(frame.x.astype(int) - images).max() <= 1


def test_what_plainly_does_not_fit_is_not_even_tried(queue, finish, tiny_run, monkeypatch):
    """A CPU does not refuse memory: the process would be killed."""
    request = SamplingRequest(num_images=7, seed=4, steps=4)
    expected = [to_uint8(step.x) for step in sample(load_model(tiny_run), request)]
    weights, calls = sum(map(weight_bytes, load_model(tiny_run).modules)), []
    monkeypatch.setattr(devices, "device_memory", lambda _: weights + 2 * sampling_memory(tiny_run.config))
    network = loaded_model(tiny_run, tiny_run.fingerprint).denoiser.network
    handle = network.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    comparison = queue.submit(Comparison.of([(tiny_run, request)]))
    finish(comparison)
    handle.remove()
    assert comparison.status == "done", comparison.error
    assert set(calls) == {2, 1}
    assert np.abs(comparison.columns[0].frames[-1].x.astype(int) - expected[-1]).max() <= 1
    monkeypatch.setattr(devices, "device_memory", lambda _: weights)
    comparison = queue.submit(Comparison.of([(tiny_run, replace(request, seed=5))]))
    finish(comparison)
    assert "even for one image at a time" in comparison.error


def test_more_frames_than_memory_are_refused_at_once(tiny_run, monkeypatch):
    request = SamplingRequest(num_images=10_000_000, steps=100)
    monkeypatch.setattr(machine, "machine_memory", lambda: 2**30)
    for job in (lambda: Comparison.of([(tiny_run, request)]), lambda: TrajectoryJob(tiny_run, request, (0,))):
        with pytest.raises(ValueError, match="choose fewer images or steps"):
            job()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), MemoryError()])
def test_out_of_memory_while_a_model_loads_is_said_in_our_words(queue, finish, tiny_run, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr(model_module, "load_model", fails)
    for job in (Comparison.of([(tiny_run, REQUEST)]), TrajectoryJob(tiny_run, REQUEST, (0,))):
        finish(queue.submit(job))
        assert job.error == "out of memory: close other programs, or choose a smaller batch, model or image size"


def test_not_even_memory_for_one_image_is_said(queue, finish, tiny_run, monkeypatch):
    monkeypatch.setattr(generation, "sample", ShortOfMemory(0))
    comparison = queue.submit(Comparison.of([(tiny_run, REQUEST)]))
    finish(comparison)
    assert comparison.status == "failed"
    assert "out of memory on cpu even for one image at a time" in comparison.error


def test_frames_know_their_noise_level(queue, finish, tiny_run):
    comparison = queue.submit(Comparison.of([(tiny_run, REQUEST)]))
    finish(comparison)
    frames = comparison.columns[0].frames
    schedule = load_model(tiny_run).schedule
    assert frames[-1].log_snr == float("inf")
    for frame in frames[:-1]:
        assert frame.log_snr == pytest.approx(schedule.log_snr[round(frame.timestep)].item(), rel=1e-9)


def test_peak_memory_holds_the_weights_and_grows_with_the_images(queue, finish, tiny_run):
    peaks = []
    for count in (1, 8, 16):
        comparison = queue.submit(Comparison.of([(tiny_run, SamplingRequest(count, steps=2))]))
        finish(comparison)
        peaks.append(comparison.columns[0].peak_memory)
    weights = sum(parameter.nbytes for parameter in load_model(tiny_run).denoiser.parameters())
    assert weights < peaks[0] < peaks[1] < peaks[2]
    assert (peaks[2] - weights) / (peaks[1] - weights) == pytest.approx(2, rel=0.2)


def test_weights_saved_anew_while_it_waits_are_not_remembered_under_the_old_fingerprint(queue, busy, finish, copied_run):
    """A live run saves between the click and its turn: what is shown must be what the fingerprint says."""
    waiting = queue.submit(Comparison.of([(copied_run, REQUEST)]))
    _train_on(copied_run)
    busy.cancel()
    finish(waiting)
    if waiting.status == "done":
        assert waiting.columns[0].fingerprint == copied_run.fingerprint
        assert np.array_equal(waiting.columns[0].frames[-1].x, to_uint8(list(sample(load_model(copied_run), REQUEST))[-1].x))
    else:
        assert waiting.error


def test_threads_that_submit_at_once_all_get_their_own(queue, finish, tiny_run, second_run):
    results = {}

    def visitor(number: int) -> None:
        for seed in range(3):
            request = SamplingRequest(1, 10 * number + seed, steps=2)
            results[number, seed] = (request, queue.submit(Comparison.of([(tiny_run, request), (second_run, request)])))

    visitors = [threading.Thread(target=visitor, args=(number,)) for number in range(4)]
    for thread in visitors:
        thread.start()
    for thread in visitors:
        thread.join()
    finish(*(comparison for _, comparison in results.values()))
    model = load_model(tiny_run)
    for request, comparison in results.values():
        assert comparison.status == "done"
        *_, last = sample(model, request)
        assert np.array_equal(comparison.columns[0].frames[-1].x, to_uint8(last.x))
    assert len({comparison.columns[0].frames[-1].x.tobytes() for _, comparison in results.values()}) == 12


def test_models_are_loaded_once_and_only_a_few_are_kept(queue, finish, tiny_run):
    for seed in range(3):
        finish(queue.submit(Comparison.of([(tiny_run, SamplingRequest(1, seed, steps=1))])))
    information = loaded_model.cache_info()
    assert information.misses == 1
    assert information.maxsize == MODELS_KEPT


# --- trajectories


def test_a_trajectory_waits_for_its_turn_and_is_what_following_its_images_gives(queue, busy, finish, tiny_run):
    job = queue.submit(TrajectoryJob(tiny_run, REQUEST, (2, 0)))
    following = queue.submit(Comparison.of([(tiny_run, SamplingRequest(1, 5, steps=2))]))
    assert (job.status, queue.position(job), queue.position(following)) == ("queued", 1, 2)
    busy.cancel()
    finish(job, following)
    assert (job.status, following.status) == ("done", "done")
    assert job.steps_done == job.num_steps == 4
    expected = trajectory(load_model(tiny_run), REQUEST, [2, 0])
    for name in ("steps", "nfe", "x", "x0", "noise", "moved", "moved_x0"):
        assert np.array_equal(getattr(job.way, name), getattr(expected, name))


def test_the_same_trajectory_again_is_there_at_once_and_others_are_not(queue, finish, tiny_run, monkeypatch):
    first = queue.submit(TrajectoryJob(tiny_run, REQUEST, (0,)))
    finish(first)
    monkeypatch.setattr(trajectory_module, "loaded_model", _refuse)
    again = queue.submit(TrajectoryJob(Run(str(tiny_run.path)), REQUEST, (0,)))
    assert again.status == "done"
    assert again.way is first.way
    others = [
        TrajectoryJob(tiny_run, REQUEST, (1,)),
        TrajectoryJob(tiny_run, replace(REQUEST, seed=3), (0,)),
        TrajectoryJob(tiny_run, REQUEST, (0,), BetweenSeeds(1, (0.5,))),
    ]
    finish(*map(queue.submit, others))
    assert {job.status for job in others} == {"failed"}  # they had to be computed, and could not


def test_trajectories_and_generations_share_a_bounded_memory(queue, finish, tiny_run, monkeypatch):
    first = queue.submit(TrajectoryJob(tiny_run, REQUEST, (0,)))
    finish(first)
    monkeypatch.setattr(queue_module, "CACHE_BYTES", first.way.nbytes)
    finish(queue.submit(Comparison.of([(tiny_run, REQUEST)])))
    monkeypatch.setattr(trajectory_module, "loaded_model", _refuse)
    forgotten = queue.submit(TrajectoryJob(tiny_run, REQUEST, (0,)))
    finish(forgotten)
    assert forgotten.status == "failed"


def test_cancelling_a_trajectory_frees_the_queue_within_one_network_call(queue, finish, tiny_run):
    network = loaded_model(tiny_run, tiny_run.fingerprint).denoiser.network
    job, calls = None, []

    def count(*_):
        calls.append(1)
        if len(calls) == 4:
            job.cancel()

    handle = network.register_forward_hook(count)
    with DEVICE:
        job = queue.submit(TrajectoryJob(tiny_run, LONG, (0,)))
    finish(job)
    handle.remove()
    assert (job.status, len(calls), job.way) == ("cancelled", 4, None)
    assert not network._forward_pre_hooks
    following = queue.submit(TrajectoryJob(tiny_run, REQUEST, (0,)))
    finish(following)
    assert following.status == "done"


def test_short_of_memory_a_trajectory_follows_fewer_images_at_once(queue, finish, class_run, monkeypatch):
    request = SamplingRequest(5, steps=3, label="circles", guidance=2.0)
    expected = trajectory(load_model(class_run), request)
    short = ShortOfMemory(2, full_at=2)
    monkeypatch.setattr(trajectory_module, "sample", short)
    job = queue.submit(TrajectoryJob(class_run, request, tuple(range(5))))
    finish(job)
    assert job.status == "done", job.error
    assert short.sizes == [5, 3, 2, 2, 1]
    assert job.steps_done == job.num_steps == 9
    for name in ("x", "x0", "noise", "change"):
        whole, parts = getattr(expected, name), getattr(job.way, name)
        assert whole.shape == parts.shape
        assert np.abs(whole.astype(int) - parts).max() <= 1
    assert np.allclose(job.way.moved, expected.moved, atol=1e-3)
