"""The measured figures that a model card tells the hub of."""

from __future__ import annotations

from collections.abc import Iterator

from ..storage.hub_card import Metric
from ..storage.run import Run
from .measured import bound_figure, loss_figure, way_in_words
from .results import FIGURES, Evaluation

TOLD = ("frechet_distance", "kernel_distance", "agreement")  # of samples


def measured(run: Run) -> list[Metric]:
    """Return what was measured of a run's weights, none if they have not been evaluated.

    Raises:
        ValueError: evaluation.json is damaged.
    """
    return list(_measured(Evaluation(run)))


def _measured(evaluation: Evaluation) -> Iterator[Metric]:
    if (loss := loss_figure(evaluation)) is not None:
        yield Metric("denoising-loss", "Denoising loss on held-out images", loss.estimate.value, {"images": loss.count})
    if (bound := bound_figure(evaluation)) is not None:
        yield Metric("bits-per-dim", "Bound on bits per dimension", bound.estimate.value, {"images": bound.count})
    newest = {way_in_words(result.asked["request"]): result for result in evaluation.of_kind("samples")}
    for way, result in newest.items():
        settings = {"images": result.asked["request"]["num_images"], "features": result.asked.get("features", "")}
        for name, figure in result.found["figures"].items():
            if name in TOLD:
                kind = name.replace("_", "-")
                yield Metric(kind, f"{FIGURES[name]}, {way}", float(figure["value"]), settings)
