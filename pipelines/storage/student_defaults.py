"""Defaults of a student's training, which are those of ``pipelines.distill``.

A student starts close to its goal, so it learns at a low rate, for a short time, and in float32.
"""

from __future__ import annotations

from .config import LogConfig, OptimizerConfig

OPTIMIZER = OptimizerConfig(steps=1000, batch_size=32, lr=2e-4, warmup_steps=20, weight_decay=0.0, precision="no")
LOG = LogConfig(log_every=10, eval_every=100, sample_every=250, save_every=100)
