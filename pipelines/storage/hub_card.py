"""The front matter of a model card: what the hub reads of a run to find it, in YAML that the hub's client writes and checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .config import RunConfig
from .hub_id import HubId
from .presets import PRESETS
from .run import Run

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

LIBRARY = "noisescope"
TASKS: Mapping[str | None, str] = {None: "unconditional-image-generation", "text": "text-to-image"}  # those that the hub knows


@dataclass(frozen=True)
class Metric:
    """One figure of a run, for its card.

    Attributes:
        kind: short name, for machines.
        title: name for people.
        settings: how it was measured.
    """

    kind: str
    title: str
    value: float
    settings: Mapping[str, Any] = field(default_factory=dict)


def with_front_matter(run: Run, hub: HubId, card: str, license: str, measured: Sequence[Metric]) -> str:
    """Return a published run's card as the hub wants it: behind YAML with its licence, tags, dataset and figures.

    Args:
        card: its model card, in Markdown.
        measured: figures besides the validation loss.

    Raises:
        ValueError: the card has front matter already that is not valid.
    """
    from huggingface_hub import ModelCard

    text = ModelCard(card).text if card.startswith("---\n") else card
    whole = f"---\n{_front_matter(run, hub, license, measured).to_yaml()}\n---\n\n{text.lstrip()}"
    return str(ModelCard(whole))  # what cannot be read back is refused


def _front_matter(run: Run, hub: HubId, license: str, measured: Sequence[Metric]) -> ModelCardData:
    from huggingface_hub import ModelCardData

    config = run.config
    results = [_result(config, metric) for metric in (*_validation(run), *measured)]
    return ModelCardData(
        license=license,
        library_name=LIBRARY,
        pipeline_tag=None if config.model == "autoencoder" else TASKS.get(config.network.takes),
        tags=list(dict.fromkeys(_tags(config))),
        datasets=[dataset] if (dataset := _dataset(config)) else None,
        base_model=_base(config),
        model_name=hub.name if results else None,
        eval_results=results or None,
    )


def _tags(config: RunConfig) -> Iterator[str]:
    yield LIBRARY
    if config.model == "autoencoder":
        yield from ("autoencoder", "image-reconstruction")
        return
    yield from ("diffusion", "image-generation")
    if config.network.takes == "class":
        yield "class-conditional"
    if config.latent.latent_shape is not None:
        yield "latent-diffusion"
    if config.is_student:
        yield "distillation"


def _dataset(config: RunConfig) -> str | None:
    """Return the hub id of the dataset, if it is known to have one; a local folder's name may be anything."""
    name = config.data.data
    return PRESETS[name].hub_id if name in PRESETS else name if name in {one.hub_id for one in PRESETS.values()} else None


def _base(config: RunConfig) -> str | None:
    """Return the repository of the run that this one started or learnt from, if it is from the hub."""
    teacher = None if config.distillation is None else config.distillation.teacher
    hub = HubId.parse(config.init.init_from or teacher or "")
    return hub.repository if hub is not None and hub.is_fixed else None  # as references to runs from the hub are


def _validation(run: Run) -> Iterator[Metric]:
    """Yield the last validation loss of the log."""
    metrics = run.metrics()
    if "val_loss" in metrics and len(losses := metrics.dropna(subset=["val_loss"])):
        last = losses.iloc[-1]
        yield Metric("validation-loss", "Validation loss", float(last["val_loss"]), {"step": int(last["step"])})


def _result(config: RunConfig, metric: Metric) -> EvalResult:
    from huggingface_hub import EvalResult

    task = "image-reconstruction" if config.model == "autoencoder" else TASKS.get(config.network.takes, "image-generation")
    return EvalResult(
        task_type=task,
        dataset_type=_dataset(config) or config.data.data,
        dataset_name=PRESETS[config.data.data].title if config.data.data in PRESETS else config.data.data,
        dataset_split="held-out images",
        metric_type=metric.kind,
        metric_name=metric.title,
        metric_value=float(f"{metric.value:.6g}"),
        metric_args=dict(metric.settings) or None,
    )
