"""Defaults of a student's training, which are those of ``pipelines.distill``.

A student starts close to its goal, so it learns at a low rate, for a short time, and in float32.
"""

from __future__ import annotations

from .config import DistillationConfig, LogConfig, OptimizerConfig

OPTIMIZER = OptimizerConfig(steps=400, batch_size=32, lr=2e-4, warmup_steps=20, weight_decay=0.0, precision="no")
LOG = LogConfig(log_every=10, eval_every=50, sample_every=200, save_every=50)
LEARNING = 3  # work of a network call with its gradient, in network calls


def training_calls(asked: DistillationConfig) -> int:
    """Return the work of a student's training, with these defaults, in network calls for one image."""
    images = OPTIMIZER.steps * OPTIMIZER.batch_size
    if asked.sees_images:
        return images * (1 + LEARNING)  # at two levels of noise, at one of them with its gradient
    taught = asked.teacher_steps * (2 if asked.scale != 1 else 1)
    return round(images * sum(asked.calls) / len(asked.calls) * (taught + LEARNING))
