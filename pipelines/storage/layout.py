"""Names of the files in a run's folder, which :mod:`pipelines.storage.run` describes."""

from __future__ import annotations

CONFIG, MODEL, METRICS, SAMPLES = "config.json", "model.safetensors", "metrics.jsonl", "samples"
CURVES = "curves.png"  # of the losses, drawn when training ends
DATA = "data.json"  # what was found in the dataset (pipelines.datasets.report)
STATE = "state/state.safetensors"
AVERAGES = "ema"  # folder of the averages with other half-lives
PROCESS = "state/process.json"  # the process that trains the run, if any
CARD = "README.md"  # the model card of a published run
