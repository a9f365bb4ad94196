"""What was measured of two columns of a comparison: of two models, or of one model sampled in two ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from diffusion_core.choices import SAMPLERS

from ..common.text import counted, shorten
from ..sampling.request import SamplingRequest, spacing_in_words
from ..storage.config import RunConfig
from .judging import judge, verdict
from .measured import Setting, same_data, same_images, shared_settings
from .results import Evaluation, Result
from .verdict import Verdict

SAMPLED = ("sampler", "steps", "eta", "spacing", "guidance", "guidance_interval", "guidance_rescale", "negative_prompt")
ANYTHING, EVERYTHING = "anything", "every class in turn"
ASKED = ("label", "prompt", "seed")
LONGEST = 40  # characters of a prompt in a name
UNUSUAL = ("eta", "guidance_interval", "guidance_rescale", "negative_prompt")  # pipelines.evaluate has no option


@dataclass(frozen=True)
class Column:
    """A model and how it is sampled.

    Attributes:
        evaluation: what was measured of the model.
        request: how it is sampled.
    """

    evaluation: Evaluation
    request: SamplingRequest

    @property
    def config(self) -> RunConfig:
        """Configuration of the model."""
        return self.evaluation.config

    @property
    def sampling(self) -> dict[str, Any]:
        """The settings of sampling, apart from the number of images, the seed, and what is asked for."""
        return {name: getattr(self.request, name) for name in SAMPLED}

    @property
    def samples(self) -> list[Result]:
        """Measurements of samples made like this column's, newest first; older ones recorded fewer settings."""
        wanted = {name: list(value) if isinstance(value, tuple) else value for name, value in self.sampling.items()}
        return [
            result
            for result in reversed(self.evaluation.of_kind("samples"))
            if all(result.asked["request"].get(name, value) == value for name, value in wanted.items())
        ]

    @property
    def options(self) -> dict[str, str]:
        """Options of ``pipelines.evaluate`` that measure samples made like this column's; a student needs at most its steps."""
        own = self.config.distillation
        if own is not None:
            return {"--steps": str(self.request.steps)} if own.varies else {}
        request, network = self.request, self.config.network
        guided = network.conditional and not network.always_conditional
        told = {"--samplers": request.sampler, "--steps": str(request.steps), "--spacing": request.spacing}
        return told | {"--guidance": f"{request.guidance:g}"} if guided else told

    @property
    def unmeasurable(self) -> str:
        """Why samples made like this column's cannot be measured; empty if they can."""
        usual = SamplingRequest()
        unusual = [name for name in UNUSUAL if getattr(self.request, name) != getattr(usual, name)]
        return f"only samplers with their usual options are measured, not with another {unusual[0]}" if unusual else ""


@dataclass(frozen=True)
class Finding:
    """What is known of two columns.

    Attributes:
        verdict: on what was measured; None if nothing was that can be compared.
        remarks: sentences on what cannot be compared and why, the most important first.
        missing: the columns whose samples have not been measured, or not in the same way.
        num_images: how many samples to measure of them, as many as before; None if none were.
        elsewhere: whether the verdict is on samples made in another way than those of the columns.
        same_noise: whether every image of one column starts from the noise of the same image of the other.
    """

    verdict: Verdict | None
    remarks: tuple[str, ...] = ()
    missing: tuple[Column, ...] = ()
    num_images: int | None = None
    elsewhere: bool = False
    same_noise: bool = False


def compare(one: Column, other: Column) -> Finding:
    """Say what was measured of two columns, and what about them cannot be compared."""
    return replace(_measured(one, other), remarks=tuple(_remarks(one, other)), same_noise=_same_noise(one, other))


def _measured(one: Column, other: Column) -> Finding:
    """Return what was measured of two columns, without remarks."""
    same_model = one.evaluation.fingerprint == other.evaluation.fingerprint
    alike = one.sampling == other.sampling
    if not same_data(one.evaluation, other.evaluation) or (same_model and alike):
        return Finding(None)
    groups = [one.evaluation], [other.evaluation]
    samples = measured_alike(one, other)
    if samples and alike:
        return Finding(verdict(*groups, Setting.of(samples[0])))
    if samples:
        models = [column.evaluation.fingerprint if same_model else column.evaluation.name for column in (one, other)]
        students = one.config.is_student or other.config.is_student  # whose way of sampling is part of them
        names = models if students and not same_model else told_apart(models, [one.request, other.request], asked=False)
        return Finding(judge(*groups, samples, names=(names[0], names[1])))
    missing = tuple(column for column in (one, other) if not column.samples) or (one, other)
    settings = [] if same_model or not alike else shared_settings([one.evaluation, other.evaluation])
    found = verdict(*groups, settings[0]) if settings else judge(*groups, [])
    known = [*one.samples[::-1], *other.samples[::-1]]  # with which those that are missing can be compared
    known += [*one.evaluation.of_kind("samples"), *other.evaluation.of_kind("samples")]
    count = int(known[0].asked["request"]["num_images"]) if known else None
    return Finding(found if found.differences else None, missing=missing, num_images=count, elsewhere=bool(settings))


def measured_together(columns: Sequence[Column]) -> tuple[list[Column], list[str]]:
    """Return those columns that one run of ``pipelines.evaluate`` measures and nothing else, and its options.

    It measures every combination of its options, so columns that differ in several settings may need several runs.
    """
    wanted = [(column.evaluation.run.path, column.options) for column in columns]
    chosen: list[Column] = []
    for column in columns:
        more = [*chosen, column]
        if all(measured in wanted for measured in _combinations(more, _values_of(more))):
            chosen = more
    return chosen, [text for option, values in _values_of(chosen).items() for text in (option, *values)]


def _values_of(columns: Sequence[Column]) -> dict[str, list[str]]:
    """Return the values of each option of ``pipelines.evaluate`` that columns need."""
    names = dict.fromkeys(name for column in columns for name in column.options)
    return {name: list(dict.fromkeys(one.options[name] for one in columns if name in one.options)) for name in names}


def _combinations(columns: Sequence[Column], values: Mapping[str, Sequence[str]]) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield what ``pipelines.evaluate`` measures of the models of columns: each with its options."""
    for column in columns:
        for combination in product(*(values[name] for name in column.options)):
            yield column.evaluation.run.path, dict(zip(column.options, combination, strict=True))


def _same_noise(one: Column, other: Column) -> bool:
    return one.request.seed == other.request.seed and one.config.state_shape == other.config.state_shape


def measured_alike(one: Column, other: Column) -> list[Result]:
    """Return the newest measurement of each column, of the same number of samples against the same images; or nothing."""
    for own in one.samples:
        for theirs in other.samples:
            alike = all(own.asked["request"][name] == theirs.asked["request"][name] for name in ("num_images", "seed"))
            here, there = Setting.of(own).compared, Setting.of(theirs).compared
            compared = all(here[name] == there[name] for name in here.keys() & there.keys())
            if alike and compared and same_images(one.evaluation, own, other.evaluation, theirs):
                return [own, theirs]
    return []


def told_apart(models: Sequence[str], requests: Sequence[SamplingRequest], asked: bool = True) -> list[str]:
    """Return what columns are called: the model and the settings of sampling, as far as they differ; else the model.

    Args:
        asked: whether to tell what is asked for, too, and the seed.
    """
    differing = [name for name in (*SAMPLED, *ASKED * asked) if len({*_told(requests, name)}) > 1]
    several = len(set(models)) > 1 or not differing
    names = []
    for model, request in zip(models, requests, strict=True):
        settings = _in_words(request, [name for name in differing if _tells(request, name)])
        names.append(" with ".join([model] * (several or not settings) + [settings] * bool(settings)))
    return names


def _told(requests: Sequence[SamplingRequest], name: str) -> Iterator[object]:
    """Yield the values of a setting, of the requests to which it applies."""
    return (getattr(request, name) for request in requests if _tells(request, name))


def _tells(request: SamplingRequest, name: str) -> bool:
    """Return whether a setting makes a difference to a request."""
    if name in ("label", "prompt"):
        return bool(getattr(request, name))
    if name.startswith("guidance"):
        return request.label is not None or bool(request.prompt)
    return name != "eta" or name in request.options


def _in_words(request: SamplingRequest, told: Sequence[str]) -> str:
    """Return the settings named in ``told``, in words."""
    steps = counted(request.steps, "step")
    sampler = SAMPLERS[request.sampler].title
    way = [f"{sampler} in {steps}" if "steps" in told else sampler] if "sampler" in told else [steps] * ("steps" in told)
    asked = {"label": EVERYTHING if request.label == "all" else request.label, "prompt": ", ".join(request.prompt)}
    named = {name: shorten(text or "", LONGEST) for name, text in asked.items()}
    named["spacing"] = spacing_in_words(request.spacing)
    more = [
        named[name] if name in named else f"{name.replace('_', ' ')} {_value(getattr(request, name))}"
        for name in told
        if name not in ("sampler", "steps")
    ]
    return ", ".join(way + more)


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return " to ".join(f"{end:g}" for end in value)
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def _remarks(one: Column, other: Column) -> Iterator[str]:
    """Yield what about two columns cannot be compared, and why."""
    first, second = one.config, other.config
    same_way = one.evaluation.fingerprint == other.evaluation.fingerprint and one.sampling == other.sampling
    asked = _asked_for(one), _asked_for(other)
    if not same_data(one.evaluation, other.evaluation):
        yield (f"Not comparable: {_learnt(one)}, {_learnt(other)}, and figures measured against different images say nothing.")
    elif same_way and asked[0] != asked[1]:
        yield "The columns differ in what was asked for; how good samples are is measured over everything at once."
    elif same_way and one.request.seed != other.request.seed:
        yield "The columns differ in their noise alone: whatever differs between them is chance."
    elif same_way:
        yield "The columns are the same."
    elif asked[0] != asked[1]:
        yield f"The columns were asked for different things ({asked[0]}; {asked[1]}), and their pictures differ for that too."
    elif asked[0] not in (ANYTHING, EVERYTHING):
        yield f"The figures are about everything that held-out images show, not about {asked[0]} alone."
    if not _same_noise(one, other):
        same_seed = one.request.seed == other.request.seed
        why = "its shape differs" if same_seed else f"seeds {one.request.seed} and {other.request.seed}"
        yield f"The columns start from different noise ({why}): compare them as groups, not image by image."
    if first.latent.latent_fingerprint != second.latent.latent_fingerprint:
        yield "The columns work on different latents, or on pixels: their samples can be compared, their noisy states cannot."


def _learnt(column: Column) -> str:
    """Return what a column's model learnt from."""
    _, height, width = column.config.image_shape or (0, 0, 0)
    return f"{column.evaluation.name} learnt from {Path(column.config.data.data).name} at {width}×{height}"


def _asked_for(column: Column) -> str:
    """Return the class or the prompts of a column, in words."""
    request = column.request
    return EVERYTHING if request.label == "all" else request.label or ", ".join(request.prompt) or ANYTHING
