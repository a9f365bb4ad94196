"""What the Compare page is made of, without it: the time told, the small picture, how often it looks, what it compares."""

import math
from dataclasses import replace

import numpy as np
import pytest

from pages.components.findings import _telling
from pages.components.generation import LOOKS, comparable, generation_queue, pace
from pages.components.sharing import thumbnail
from pages.components.timing import about_time
from pipelines.common.text import rough_duration
from pipelines.evaluation.verdict import Sentence
from pipelines.sampling.generation import Comparison, Frame, Generation
from pipelines.sampling.request import SamplingRequest
from pipelines.storage.config import DistillationConfig, LatentConfig, RunConfig
from pipelines.storage.run import Run


def test_the_time_told_is_that_of_the_steps_after_the_start(monkeypatch):
    run, request = Run("checkpoints/fashion-baseline"), SamplingRequest(num_images=10, steps=4)

    def made(start, seconds_a_call, pause=0.0):
        noise = Frame(0, 999.0, -math.inf, *[np.zeros((1, 2, 2, 3), np.uint8)] * 2, nfe=1, seconds=start)
        seconds = [start + step * seconds_a_call for step in (1, 2)] + [start + pause + 3 * seconds_a_call]
        steps = [replace(noise, index=step, nfe=1 + step, seconds=now) for step, now in enumerate(seconds, start=1)]
        kept = [noise, *steps, replace(steps[-1], index=4)]
        return Generation(run, request, run.fingerprint, run.config, kept, num_steps=4)

    def told(*columns, **changes):
        monkeypatch.setattr(generation_queue().results, "all", lambda: list(columns))
        return about_time([(run, replace(request, num_images=100, steps=20, **changes))])

    expected = (" (about 20 s)", "Estimated from what was generated here before.")
    assert told(made(60.0, 0.1)) == told(made(0.1, 0.1)) == told(made(0.1, 0.1, pause=50.0)) == expected
    assert told(made(0.1, 0.1), guidance=2.0)[0] == " (about 45 s)"
    assert told(made(0.1, 0.12)) == told(made(0.1, 0.06)) == expected, "it does not follow the machine's load"
    assert told(made(0.1, 0.5))[0] == " (about 2 min)", "unless what was told is wrong"
    few = made(0.1, 0.5)
    few.request = replace(request, num_images=2)  # as long for each step, of a fifth of the images
    assert told(made(0.1, 0.4), few)[0] == " (about 2 min)", "of what is most like it"
    student = replace(run.config, distillation=DistillationConfig(guidance=2.0))
    monkeypatch.setattr(Run, "config", student)
    assert told(made(0.1, 0.1), guidance=2.0, seed=1)[0] == " (about 20 s)", "a student needs no second call for its guidance"


def test_a_rough_duration_claims_no_more_than_an_estimate_knows():
    seconds = [0.3, 2.4, 12, 17, 29, 40, 55, 100, 280, 1100, 3500, 8000]
    told = ["1 s", "2 s", "10 s", "15 s", "30 s", "45 s", "1 min", "2 min", "5 min", "20 min", "1 h", "2 h"]
    assert list(map(rough_duration, seconds)) == told


def test_a_small_picture_of_a_comparison_has_the_same_images_of_every_column():
    def images(side):
        return np.stack([np.full((side, side, 3), number, np.uint8) for number in range(1, 31)])

    for sides in ((64, 64), (28, 32), (32, 20)):
        per_image = [np.unique(thumbnail([images(side), 0 * images(other)])) for side, other in (sides, sides[::-1])]
        assert list(per_image[0]) == list(per_image[1]), sides


def test_a_page_looks_as_often_as_its_columns_grow():
    """A look in vain takes the processor from the networks, a late one keeps a picture back."""

    def grown(frames, seconds_a_step, finished=False):
        noise = Frame(0, 999.0, -math.inf, *[np.zeros((1, 2, 2, 3), np.uint8)] * 2, nfe=0, seconds=0.0)
        kept = [replace(noise, index=step, seconds=step * seconds_a_step) for step in range(frames)]
        steps = frames - 1 if finished else 100
        return Generation(Run("nowhere"), SamplingRequest(), "", RunConfig(image_shape=(3, 2, 2)), kept, num_steps=steps)

    def pace_of(*columns):
        return pace(Comparison(list(columns)))

    assert pace_of(grown(0, 0.0)) == pace_of(grown(1, 0.0)) == pace_of(grown(9, 0.01)) == LOOKS[0]
    assert pace_of(grown(4, 0.2), grown(3, 0.3)) == pytest.approx(0.5)
    assert pace_of(grown(4, 0.2), grown(3, 0.3, finished=True)) == pytest.approx(0.2)
    assert pace_of(*[grown(4, 0.4)] * 9) == LOOKS[1]


def test_states_are_compared_where_they_are_the_same_kind_of_numbers():
    """Pixels with pixels, latents with those of the same autoencoder; estimates are images, whatever they were made by."""

    def of(latent, size=16):
        config = RunConfig(image_shape=(3, size, size), latent=LatentConfig(latent_fingerprint=latent))
        return Generation(Run("nowhere"), SamplingRequest(), "", config)

    pixels, ours, theirs = map(of, ("", "ours", "theirs"))
    assert comparable(pixels, of(""), "x")
    assert comparable(ours, of("ours"), "x")
    for one, other in ((pixels, ours), (ours, theirs)):
        assert not comparable(one, other, "x")
        assert comparable(one, other, "x0")
    assert not comparable(pixels, of("", 32), "x0")


def test_few_sentences_give_each_model_its_own_and_leave_out_what_is_said_twice():
    def said(*better):
        return [Sentence(name, name, winner, winner is not None) for name, winner in better]

    one_wins = said(("frechet_distance", "a"), ("kernel_distance", "a"), ("recall", "a"), ("loss", None))
    both_win = said(("frechet_distance", "a"), ("kernel_distance", "a"), ("recall", "a"), ("bound", "b"), ("loss", None))
    neither = said(("loss", None), ("recall", None))
    for told, most, names in (
        (one_wins, 2, ["frechet_distance", "recall"]),
        (one_wins, 9, ["frechet_distance", "kernel_distance", "recall"]),
        (both_win, 2, ["frechet_distance", "bound"]),
        (both_win, 3, ["frechet_distance", "recall", "bound"]),
        (neither, 3, ["loss"]),
    ):
        assert [sentence.name for sentence in _telling(told, most)] == names
