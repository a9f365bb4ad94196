"""Do samples match their condition? ``python -m benchmarks.agreement``.

A classifier trained on real images alone judges samples of class-conditional models (every class) and of text-conditional
ones (a caption of every class, and prompts in other words). What it makes of held-out photographs of the same classes
stands beside it: a judge that errs on real images errs on good samples too.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from scipy.stats import binomtest
from torch import Tensor
from tqdm import tqdm

from pipelines.common.flags import parse
from pipelines.common.images import as_input
from pipelines.common.json_files import read_json
from pipelines.datasets.captions import captions_for
from pipelines.datasets.conditions import held_out_labels
from pipelines.datasets.image_sets import load_split
from pipelines.datasets.learnt_words import recorded_captions
from pipelines.datasets.sources import open_source
from pipelines.datasets.splits import data_of
from pipelines.models.classifier import LoadedClassifier, load_classifier
from pipelines.models.loading import LoadedModel, load_model
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.files import ROOT

from .timing import machine, table

PROMPTS = Path(__file__).parent / "prompts.json"
"""Prompts by kind and by the class that a person would expect. Rare words are in no caption; a stranger's words were written by
somebody who had not seen the captions, and many of them are captions."""
TEMPLATE = "a photo of a {}"
CHUNK = 50  # images per network call


@dataclass(frozen=True)
class Arguments:
    """Judge samples of conditional models with a classifier."""

    models: tuple[str, ...] = ("checkpoints/fashion-class", "checkpoints/fashion-text")
    """Class- or text-conditional runs."""
    classifier: Path = ROOT / "classifiers" / "fashion-mnist.safetensors"
    """The classifier that judges."""
    per_class: int = 100
    """Images per class or prompt."""
    request: SamplingRequest = field(default_factory=lambda: SamplingRequest(guidance=2.5))


def generated(model: LoadedModel, request: SamplingRequest) -> Tensor:
    """Generate all samples of a request, (N, C, H, W) in [−1, 1]."""
    parts = []
    for numbers in torch.arange(request.num_images).split(CHUNK):
        *_, last = sample(model, request, numbers.tolist())
        parts.append(model.decode(last.x).cpu())
    return torch.cat(parts)


@dataclass(frozen=True)
class Question:
    """A condition to sample."""

    asked: str
    """The name of a class, or a prompt."""
    expected: str
    """The class that a person would expect."""
    kind: str
    """The group of questions that it belongs to, in words."""
    fields: dict[str, object]
    """Fields of the request."""


def questions(model: LoadedModel, classes: tuple[str, ...]) -> Iterator[Question]:
    """Yield the conditions to sample: every class, or a caption of each and :data:`PROMPTS`."""
    if model.config.network.takes == "class":
        for name in classes:
            yield Question(name, name, "classes", {"label": name})
        return
    learnt = set(recorded_captions(model.config.condition, model.config.data.data))
    named = dict(zip(classes, captions_for(list(classes), [TEMPLATE]), strict=True))
    for kind, group in {"class names": named, **read_json(PROMPTS)}.items():
        for name, prompts in group.items():
            for prompt in prompts if name in classes else ():
                told = f"{kind}, {'' if prompt in learnt else 'not '}among the captions"
                yield Question(prompt, name, told, {"prompt": (prompt,)})


def judged(model: LoadedModel, judge: LoadedClassifier, request: SamplingRequest) -> Iterator[tuple[Question, Tensor]]:
    """Yield each condition and the number of its samples that are judged as each class."""
    for question in tqdm(list(questions(model, judge.classes)), desc=model.name, unit="question"):
        found = judge.classify(generated(model, replace(request, **question.fields)))
        yield question, torch.bincount(found, minlength=len(judge.classes))


def real_rates(model: LoadedModel, judge: LoadedClassifier) -> Tensor:
    """Return for each class of the judge the share of the model's held-out images that are recognised, (classes,); NaN of none.

    Raises:
        ValueError: the classes of the model's data are not those of the judge.
    """
    data = data_of(model.config)
    opened = open_source(data.data, data.only_classes)
    _, held_out, _ = load_split(data, opened)
    labels = held_out_labels(model.config, opened, held_out, judge.classes)
    if labels is None:
        raise ValueError(f"{model.name} was trained on other classes than those that the judge knows: choose another judge")
    right = judge.classify(as_input(held_out.images)) == labels
    totals = [torch.bincount(some, minlength=len(judge.classes)) for some in (labels[right], labels)]
    return totals[0] / totals[1]


def rate(right: int, count: int) -> str:
    """Format a rate with its 95 % interval (Wilson)."""
    low, high = binomtest(right, count).proportion_ci(method="wilson")
    return f"{right / count:.1%} ({low:.1%} – {high:.1%})"


def main(arguments: Arguments) -> None:
    """Print Markdown: one table per model."""
    judge = load_classifier(arguments.classifier)
    count = arguments.per_class
    request = replace(arguments.request, num_images=count)
    print(f"{machine()}\n\nJudge: {arguments.classifier.name}, {judge.accuracy:.2%} of the test images.")
    for path in arguments.models:
        model = load_model(path)
        real = real_rates(model, judge)
        rows: list[tuple[str, ...]] = []
        hits, ceilings = defaultdict[str, list[int]](list), defaultdict[str, list[Tensor]](list)
        for question, counts in judged(model, judge, request):
            number = judge.classes.index(question.expected)
            right = int(counts[number])
            hits[question.kind].append(right)
            ceilings[question.kind].append(real[number])
            seen = [f"{judge.classes[i]} {counts[i] / count:.0%}" for i in counts.argsort(descending=True)[:3] if counts[i]]
            rows.append((question.asked, question.expected, f"{right / count:.0%}", ", ".join(seen)))
        told = f"guidance {request.guidance:g}, {request.steps} steps of {request.sampler}, {count} images a row"
        print(f"\n**{model.name}** ({told})\n")
        shares = [
            (kind, str(len(own)), rate(sum(own), len(own) * count), f"{torch.stack(ceilings[kind]).nanmean():.1%}")
            for kind, own in hits.items()
        ]
        print(table(("asked for", "questions", "recognised", "photographs of the same classes"), shares), end="\n\n")
        print(table(("asked for", "expected", "recognised", "seen as"), rows))


if __name__ == "__main__":
    main(parse([Arguments], sys.argv[1:], description=__doc__))
