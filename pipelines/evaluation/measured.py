"""Measured figures with what they are made of, and which of them can be compared and paired with those of another model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffusion_core.choices import SAMPLERS

from ..common.text import counted
from ..sampling.own_steps import own_steps
from ..sampling.request import SamplingRequest, spacing_in_words
from .intervals import Estimate, Values, blocks_error, mean_error, share_error, strata_error, subsets_error
from .paired import Figure
from .results import LOSS_BINS, Evaluation, Result, loss_draws, noise_bins

PARTS: dict[str, tuple[str, Callable[[Values], float]]] = {  # of figures of samples: how their parts are kept, and the error
    **dict.fromkeys(("frechet_distance", "kernel_distance", "frechet_at_infinity"), ("halves", blocks_error)),
    **dict.fromkeys(("precision", "agreement", "closer_than_held_out"), ("cases", share_error)),
    "density": ("values", mean_error),
    "coverage": ("alone", mean_error),
    "recall": ("subsets", subsets_error),
    "vendi_score": ("blocks", blocks_error),
}


@dataclass(frozen=True)
class Setting:
    """How samples were made and compared, as the results keep it.

    Attributes:
        request: how they were sampled.
        compared: the features they were compared in, and the real images they were compared with.
    """

    request: dict[str, Any]
    compared: dict[str, Any]

    @classmethod
    def of(cls, result: Result) -> Setting:
        """Return the setting of a measurement of samples, without the conditions and timesteps of the model itself."""
        of_model = ("request", "shown", "timesteps")
        return cls(result.asked["request"], {key: result.asked[key] for key in result.asked if key not in of_model})

    def fits(self, other: Setting) -> bool:
        """Return whether samples of both can be compared; older results have fewer settings."""
        pairs = ((self.request, other.request), (self.compared, other.compared))
        return all(one[key] == two[key] for one, two in pairs for key in one.keys() & two.keys())

    def __str__(self) -> str:
        return f"{self.request['num_images']:,} samples, {way_in_words(self.request)}"


def way_in_words(request: Mapping[str, Any]) -> str:
    """Return how a request samples, as the results keep it: its steps, sampler, and unusual spacing and guidance."""
    guided = "" if request["guidance"] == 1 else f", guidance {request['guidance']:g}"
    spacing = request.get("spacing", SamplingRequest.spacing)
    spaced = f" at {spacing_in_words(spacing)}" * (spacing != SamplingRequest.spacing)
    return f"{counted(request['steps'], 'step')} of {sampler_title(request['sampler'])}{spaced}{guided}"


def sampler_title(name: str) -> str:
    """Return a sampler's name for people; of one that this version does not have, the name by which it was asked for."""
    return SAMPLERS[name].title if name in SAMPLERS else name


def shared_settings(evaluations: Sequence[Evaluation]) -> list[Setting]:
    """Return the settings at which the samples of all evaluations were measured, and can be compared.

    Students are measured in their own steps, which are compared with those of other models at any. One that serves several
    numbers of steps is compared in the nearest.
    """
    first = next((one for one in evaluations if not one.config.is_student), evaluations[0])
    own = [Setting.of(result) for result in first.of_kind("samples")]
    return [setting for number, setting in enumerate(own) if setting not in own[:number] and samples_at(evaluations, setting)]


def samples_at(evaluations: Sequence[Evaluation], setting: Setting) -> list[Result]:
    """Return each evaluation's newest samples at a setting, of students in their own steps; empty if not all have such."""
    found: list[Result] = []
    for evaluation in evaluations:
        wanted = replace(setting, request=setting.request | own_steps(evaluation.config, setting.request["steps"]))
        own = [result for result in evaluation.of_kind("samples") if Setting.of(result).fits(wanted)]
        if found:
            own = [result for result in own if same_images(evaluation, result, evaluations[0], found[0])]
        if not own:
            return []
        found.append(own[-1])
    return found


def same_images(one: Evaluation, result: Result, other: Evaluation, theirs: Result) -> bool:
    """Return whether two results are about images of the same dataset and size.

    The digests of the held-out images decide if both results have one.
    """
    if result.held_out_digest and result.held_out_digest == theirs.held_out_digest:
        return True
    return same_data(one, other)


def same_data(one: Evaluation, other: Evaluation) -> bool:
    """Return whether two runs are about images of the same dataset and size.

    The digests of their images decide, as far as both recorded them: a dataset may have several names, and a name may stand
    for several datasets.
    """
    configs = (one.config, other.config)
    if configs[0].image_shape != configs[1].image_shape:
        return False
    digests = [{result.held_out_digest for result in evaluation.results} - {None} for evaluation in (one, other)]
    if digests[0] & digests[1]:
        return True
    training = {config.training_digest for config in configs}
    if "" not in training:
        return len(training) == 1
    return len({Path(config.data.data).name for config in configs}) == 1


def _images(evaluation: Evaluation, result: Result) -> object:
    """Return what identifies the held-out images of a result: their digest, or in older ones the settings that chose them."""
    config = evaluation.config
    return result.held_out_digest or (replace(config.data, flip=None, augment=0.0, held_out_images=1), config.seed)


def estimate_in(found: Mapping[str, Any]) -> Estimate:
    """Return the estimate in a stored figure, which may contain more."""
    return Estimate(found["value"], found["low"], found["high"])


def sample_figure(evaluation: Evaluation, result: Result, name: str) -> Figure | None:
    """Return a figure of samples, or None if it was not measured."""
    figures = result.found["figures"]
    if name not in figures:
        return None
    estimate = estimate_in(figures[name])
    request, config = result.asked["request"], evaluation.config
    kind, error = PARTS[name]
    kept = figures.get("frechet_distance" if name == "frechet_at_infinity" else name, {}).get(kind)  # whose halves it shares
    if kept is None:
        return Figure(estimate, request["num_images"])
    parts = np.array(list(kept), np.float64)
    cases = np.arange(len(parts)) if kind in ("cases", "values") else None
    pair = (request["num_images"], request["seed"], config.state_shape, _images(evaluation, result))
    return Figure(estimate, request["num_images"], parts, error, pair, cases)


def loss_figure(evaluation: Evaluation) -> Figure | None:
    """Return the newest loss on held-out images, or None if it was not measured."""
    results = evaluation.of_kind("loss")
    if not results:
        return None
    result, config = results[-1], evaluation.config
    estimate = estimate_in(result.found["whole"])
    count, seed = result.asked["images"], result.asked["seed"]
    errors = np.array(result.found.get("errors", ()))
    if len(errors) != max(count, 20 * LOSS_BINS):  # then they belong to other draws
        return Figure(estimate, count)
    levels, drawn = loss_draws(count, seed)
    error = partial(strata_error, strata=noise_bins(levels), cases=drawn)
    noise = (count, seed, config.state_shape, config.latent.latent_fingerprint)
    return Figure(estimate, count, errors, error, (noise, _images(evaluation, result)), drawn)


def bound_figure(evaluation: Evaluation) -> Figure | None:
    """Return the newest bound on the likelihood, or None if it was not measured."""
    results = evaluation.of_kind("bound")
    if not results:
        return None
    result = results[-1]
    estimate = estimate_in(result.found["total"])
    bits = np.array(result.found.get("images", ()))
    pair = (json.dumps(result.asked, sort_keys=True), _images(evaluation, result), evaluation.config.image_shape)
    return Figure(estimate, len(bits), bits if len(bits) > 1 else None, mean_error, pair, np.arange(len(bits)))


def comparable(kind: str, one: Evaluation, other: Evaluation) -> bool:
    """Return whether the losses or bounds of two evaluations are about the same images, or latents."""
    own, theirs = one.of_kind(kind), other.of_kind(kind)
    latents = {evaluation.config.latent.latent_fingerprint for evaluation in (one, other)}
    return bool(own and theirs) and len(latents) == 1 and same_images(one, own[-1], other, theirs[-1])
