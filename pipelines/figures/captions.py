"""Captions that say where a figure comes from: runs, weights, seeds and samplers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from diffusion_core.choices import MODEL_SPACINGS, SAMPLERS

from ..common.text import some
from ..sampling.request import SamplingRequest
from ..storage.run import Run


def about_weights(name: str, fingerprint: str) -> str:
    """Return the name of a run with the fingerprint of its weights."""
    return f"{name} (weights {fingerprint})"


def about_runs(runs: Mapping[str, Run], foreign: Mapping[str, str] | None = None) -> str:
    """Return the names of runs, each with the fingerprint of its weights, if it has any, and its seed of training.

    Args:
        foreign: what has written the logs of other software, by the names of their runs.
    """
    parts = []
    for name, run in runs.items():
        weights = f"weights {run.fingerprint}, " if run.has_weights else ""
        parts.append(f"{name} ({weights}training seed {run.config.seed})")
    parts += [f"{name} (logged by {kind})" for name, kind in (foreign or {}).items()]
    return f"{', '.join(parts)}."


def about_request(request: SamplingRequest) -> str:
    """Return what was asked of a model, apart from its name."""
    parts = [f"seed {request.seed}", SAMPLERS[request.sampler].title, f"{request.steps} steps"]
    parts += [f"{name} {value:g}" for name, value in request.options.items()]
    parts += [f"{MODEL_SPACINGS[request.spacing].title} spacing"] * (request.spacing != SamplingRequest.spacing)
    parts += [f"class {request.label}"] * (request.label is not None)
    parts += [f"prompt {some([repr(prompt) for prompt in request.prompt])}"] * bool(request.prompt)
    parts += [f"negative prompt {request.negative_prompt!r}"] * (request.negative_prompt is not None)
    parts += [f"guidance {request.guidance:g}"] * (request.guidance != 1)
    return ", ".join(parts)


def about_samples(name: str, fingerprint: str, request: SamplingRequest) -> str:
    """Return which model made samples, and how."""
    return f"{about_weights(name, fingerprint)}: {about_request(request)}"


def about_measured(table: pd.DataFrame) -> str:
    """Return the seeds and samplers of measured samples.

    Args:
        table: see :func:`pipelines.evaluation.tables.samples_table`.
    """
    made = [f"seed {seed}" for seed in sorted(set(table["seed"]))]
    made += [SAMPLERS[name].title if name in SAMPLERS else name for name in dict.fromkeys(table["sampler"])]
    return f"Samples from {', '.join(made)}"


def sentences(parts: Iterable[str]) -> str:
    """Join the parts of a caption, each of which becomes a sentence."""
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)
