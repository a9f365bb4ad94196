"""Do samples match their condition? ``python -m benchmarks.agreement``.

A classifier trained on real images alone judges samples of class-conditional models (every class) and of text-conditional
ones (a caption of every class, and prompts that are not captions). What it makes of held-out photographs of the same classes
stands beside it: a judge that errs on real images errs on good samples too.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from scipy.stats import binomtest
from torch import Tensor
from tqdm import tqdm

from pipelines.common.flags import parse
from pipelines.common.images import as_input
from pipelines.datasets.captions import captions_for
from pipelines.datasets.conditions import held_out_labels
from pipelines.datasets.image_sets import load_split
from pipelines.datasets.sources import open_source
from pipelines.datasets.splits import data_of
from pipelines.models.classifier import LoadedClassifier, load_classifier
from pipelines.models.loading import LoadedModel, load_model
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.files import ROOT

from .timing import machine, table

# Prompts in words that occur in no caption, by the class that a person would expect.
UNSEEN = {
    # FashionMNIST
    "T-shirt/top": ("a crop top", "a muscle shirt", "a polo t-shirt"),
    "Trouser": ("corduroys", "bell-bottoms", "skinny jeans"),
    "Pullover": ("a cable-knit sweater", "a fleece", "a hooded sweatshirt"),
    "Dress": ("a ball gown", "a prom dress", "a pinafore"),
    "Coat": ("an anorak", "a duffle coat", "a bomber jacket"),
    "Sandal": ("espadrilles", "gladiator sandals", "beach sandals"),
    "Shirt": ("an oxford shirt", "a silk blouse", "a hawaiian shirt"),
    "Sneaker": ("basketball shoes", "a track shoe", "walking shoes"),
    "Bag": ("a duffel bag", "a bucket bag", "a pocketbook"),
    "Ankle boot": ("desert boots", "work boots", "cowboy boots"),
    # Tiny ImageNet
    "goldfish": ("a fish in a bowl", "an ornamental fish"),
    "ladybug": ("a spotted beetle", "a ladybird bug"),
    "golden retriever": ("a golden labrador", "a gun dog"),
    "Persian cat": ("a kitty", "a long-haired cat"),
    "tarantula": ("an arachnid", "a furry spider"),
    "red panda": ("a firefox", "a red panda cub"),
    "orange": ("a tangerine", "a clementine"),
    "lemon": ("a sliced lemon", "a lemon wedge"),
    "banana": ("a plantain", "a banana peel"),
    "pizza": ("a margherita", "a pepperoni pie"),
    "beach wagon": ("a hatchback", "an estate"),
    "limousine": ("a chauffeured car", "a wedding car"),
    "school bus": ("a yellow coach", "a bus for pupils"),
    "cliff": ("an escarpment", "a mountain wall"),
    "seashore": ("the ocean shore", "a seafront"),
    "koala": ("a koala cub", "a marsupial"),
    "sulphur butterfly": ("a brimstone butterfly", "a cabbage butterfly"),
    "jellyfish": ("a box jellyfish", "a portuguese man o' war"),
    "bell pepper": ("a paprika", "a yellow pepper"),
    "lion": ("a big cat", "a lion cub"),
    # Oxford Flowers
    "rose": ("a red rose", "a long-stemmed rose"),
    "sunflower": ("a giant sunflower", "a field sunflower"),
    "daffodil": ("a paperwhite narcissus", "a lent lily"),
    "common dandelion": ("a dandelion weed", "a yellow dandelion"),
    "hibiscus": ("a tropical hibiscus", "a red hibiscus"),
    "foxglove": ("a purple foxglove", "a foxglove spike"),
    "lotus lotus": ("a floating lotus", "a white lotus"),
    "morning glory": ("a purple morning glory", "a climbing morning glory"),
    "oxeye daisy": ("a white marguerite", "a moon daisy"),
    "snapdragon": ("a yellow snapdragon", "a dog flower"),
    "corn poppy": ("a field poppy", "a scarlet poppy"),
    "californian poppy": ("a golden poppy", "a poppy from california"),
    "black-eyed susan": ("a brown-eyed susan", "an orange coneflower"),
    "barbeton daisy": ("a pink gerbera", "a florist's gerbera"),
    "passion flower": ("a passion fruit blossom", "a purple passionflower"),
    "anthurium": ("a flamingo lily", "a red laceleaf"),
    "bearded iris": ("a purple bearded iris", "a fleur-de-lis"),
    "giant white arum lily": ("a white calla lily", "an arum"),
    "hippeastrum": ("a red amaryllis", "a potted amaryllis"),
    "clematis": ("a purple clematis", "a leather flower"),
    "petunia": ("a purple petunia", "a petunia in a hanging basket"),
    "geranium": ("a potted geranium", "a balcony geranium"),
    "wild pansy": ("a garden pansy", "a tricolor violet"),
    "marigold": ("an african marigold", "a french marigold"),
    "sword lily": ("a gladiola", "a tall gladiolus"),
    "king protea": ("a giant protea", "a south african protea"),
    "artichoke": ("a french artichoke", "a green artichoke"),
    "spear thistle": ("a purple thistle", "a plume thistle"),
    "peruvian lily": ("an inca lily", "a peruvian princess lily"),
    "purple coneflower": ("a pink coneflower", "an echinacea plant"),
    "cyclamen": ("a red cyclamen", "a potted cyclamen"),
    "azalea": ("a rhododendron bush", "an azalea hedge"),
    "magnolia": ("a southern magnolia", "a pink magnolia"),
    "camellia": ("a pink camellia", "a red camellia"),
}
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


def questions(model: LoadedModel, classes: tuple[str, ...]) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Yield the conditions to sample: a description, the expected class, and the fields of a request."""
    if model.config.network.takes == "class":
        for name in classes:
            yield name, name, {"label": name}
        return
    for name, [caption] in zip(classes, captions_for(list(classes), [TEMPLATE]), strict=True):
        yield caption, name, {"prompt": (caption,)}
    for name, prompts in UNSEEN.items():
        for prompt in prompts if name in classes else ():
            yield prompt, name, {"prompt": (prompt,)}


def judged(model: LoadedModel, judge: LoadedClassifier, request: SamplingRequest) -> Iterator[tuple[str, str, Tensor]]:
    """Yield for each condition its description, the expected class, and the number of samples judged as each class."""
    for asked, name, fields in tqdm(list(questions(model, judge.classes)), desc=model.name, unit="question"):
        found = judge.classify(generated(model, replace(request, **fields)))
        yield asked, name, torch.bincount(found, minlength=len(judge.classes))


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
    unseen = {prompt for prompts in UNSEEN.values() for prompt in prompts}
    print(f"{machine()}\n\nJudge: {arguments.classifier.name}, {judge.accuracy:.2%} of the test images.")
    for path in arguments.models:
        model = load_model(path)
        rows, hits = [], Counter[bool]()
        real = real_rates(model, judge)
        ceilings: dict[bool, list[Tensor]] = {False: [], True: []}  # of captions and of unseen prompts, one entry a row
        for asked, name, counts in judged(model, judge, request):
            number = judge.classes.index(name)
            right = int(counts[number])
            ceilings[asked in unseen].append(real[number])
            seen = [f"{judge.classes[i]} {counts[i] / count:.0%}" for i in counts.argsort(descending=True)[:3] if counts[i]]
            rows.append((asked, name, f"{right / count:.0%}", ", ".join(seen)))
            hits[asked in unseen] += right
        novel = sum(asked in unseen for asked, *_ in rows)
        told = f"guidance {request.guidance:g}, {request.steps} steps of {request.sampler}, {count} images a row"
        shares = {
            kind: f"photographs of the same classes {torch.stack(own).nanmean():.1%}" for kind, own in ceilings.items() if own
        }
        found = f"{rate(hits[False], (len(rows) - novel) * count)} recognised, {shares[False]}"
        if novel:
            found += f"; in words that no caption contains, {rate(hits[True], novel * count)}, {shares[True]}"
        print(f"\n**{model.name}** ({told}): {found}\n")
        print(table(("asked for", "expected", "recognised", "seen as"), rows))


if __name__ == "__main__":
    main(parse([Arguments], sys.argv[1:], description=__doc__))
