"""Teachers of students: what is taken over from them, and which runs can be one."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import torch

from diffusion_core.choices import LEARNED, USUAL_GUIDANCE
from diffusion_core.schedules import sampling_timesteps

from ..storage.config import DistillationConfig, InitConfig, LogConfig, OptimizerConfig, RunConfig
from ..storage.layout import PROCESS
from ..storage.processes import at_work
from ..storage.run import Run
from ..storage.runs import find_run, reference_to
from ..storage.spacing import has_learned, learned_timesteps
from .loading import LoadedModel, load_model
from .networks import make_diffusion_schedule


def student_config(teacher: Run, asked: DistillationConfig, optimizer: OptimizerConfig, log: LogConfig) -> RunConfig:
    """Return the configuration of a teacher's student, which has its network, process, data and seed.

    Raises:
        ValueError: the run cannot be a teacher, or cannot be distilled like this; the message says why.
    """
    theirs = _refuse_unfit(teacher, asked)
    if asked.sees_images and optimizer.precision != "no":  # rounding to bfloat16 changes the loss of late stages
        raise ValueError(
            f"precision={optimizer.precision}: consistency tuning compares estimates that differ by less than 16 bits tell "
            "apart: leave it at no"
        )
    guidance, network = asked.guidance, theirs.network
    if network.conditional and guidance is None:
        guidance = 1.0 if asked.sees_images else USUAL_GUIDANCE
    if not asked.sees_images:
        network = replace(network, dropout=0.0)  # the teacher has none either, once it is trained
    learned = not asked.sees_images and all(has_learned(teacher, calls) for calls in asked.calls)
    spacing = asked.spacing or (LEARNED if learned else "trailing")
    distillation = replace(
        asked,
        spacing=spacing,
        guidance=guidance,
        teacher=reference_to(teacher),
        teacher_fingerprint=teacher.fingerprint,
        timesteps=tuple(chain.from_iterable(_timesteps(teacher, calls, spacing) for calls in asked.calls)),
    )
    return replace(
        theirs,
        network=network,
        optimizer=optimizer,
        log=log,
        init=InitConfig(),
        versions={},
        changes=(),
        distillation=distillation,
    )


def _timesteps(teacher: Run, calls: int, spacing: str) -> tuple[float, ...]:
    """Return the timesteps of a student for a number of calls, noisiest first."""
    if spacing == LEARNED:
        return learned_timesteps(teacher, calls)
    schedule = make_diffusion_schedule(teacher.config.diffusion)
    return tuple(sampling_timesteps(schedule, calls, spacing).tolist())


def _refuse_unfit(teacher: Run, asked: DistillationConfig) -> RunConfig:
    """Return the configuration of a teacher, or raise ValueError if it cannot be distilled as asked."""
    theirs, name = teacher.config, teacher.name
    if theirs.model == "autoencoder":
        raise ValueError(f"{name} is an autoencoder, which does not sample in steps: choose a diffusion model")
    if theirs.distillation is not None:
        raise ValueError(f"{name} is itself a student: distil its teacher, {theirs.distillation.teacher}, with other --calls")
    if theirs.network.imported:
        raise ValueError(f"{name} was imported from another library and cannot be distilled: choose a run trained here")
    if at_work(teacher.path / PROCESS):
        raise ValueError(f"{name} is still in training: wait until it has finished, or stop it first")
    if not teacher.has_weights:
        raise ValueError(f"{name} has no weights yet: train it first, with `python -m pipelines.train --resume {teacher.path}`")
    longest = theirs.diffusion.timesteps
    if not asked.sees_images and asked.most * asked.teacher_steps > longest:
        raise ValueError(
            f"calls={asked.most} with teacher_steps={asked.teacher_steps} are {asked.most * asked.teacher_steps:,} steps of "
            f"the teacher, and the schedule of {name} has {longest:,}: choose fewer"
        )
    if asked.guidance not in (None, 1.0) and not theirs.network.conditional:
        raise ValueError(f"guidance={asked.guidance:g}: {name} takes no classes or prompts that could be guided: leave it out")
    return theirs


def load_teacher(config: RunConfig, device: torch.device) -> LoadedModel:
    """Load a student's teacher in float32, since the student learns from small differences.

    Raises:
        ValueError: there is no such run, or it has other weights than when the student was started.
    """
    assert config.distillation is not None
    teacher = find_run(config.distillation.teacher)
    if teacher.fingerprint != config.distillation.teacher_fingerprint:
        raise ValueError(
            f"the weights of {teacher.name}, the teacher, have changed since this student was started: start a new one"
        )
    return load_model(teacher, device, torch.float32)
