"""Weights and the models of other programs: they are loaded, used, published, resumed and imported."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from .kind import RUN, Attempts, Kind, files_of, make_special, prepare_runs
from .mutations import mutate_json, mutate_tensors
from .of_runs import mutate_record
from .seeds import Seeds

if TYPE_CHECKING:
    from pipelines.models.loading import LoadedModel


def _mutate_weights(random: Random, folder: Path) -> None:
    file = folder / RUN / "model.safetensors"
    file.write_bytes(mutate_tensors(random, file.read_bytes()))
    if random.random() < 0.3:
        (folder / RUN / "config.json").unlink()


def _use_weights(folder: Path) -> Attempts:
    from pipelines.models.finetune import adopt
    from pipelines.models.loading import load_model
    from pipelines.storage.config import InitConfig, RunConfig
    from pipelines.storage.publishing import publish
    from pipelines.storage.run import Run

    run = Run(folder / RUN)
    yield lambda: draw_samples(load_model(run, device="cpu"))
    yield lambda: load_model(run.model_path, device="cpu")
    yield lambda: publish(run, folder / "published")
    yield lambda: adopt(RunConfig(init=InitConfig(init_from=str(run.path))))


def draw_samples(model: LoadedModel) -> None:
    """Draw two samples in two steps; they must be finite."""
    from pipelines.sampling.request import SamplingRequest
    from pipelines.sampling.sample import sample

    *_, step = sample(model, SamplingRequest(num_images=2, steps=2, sampler="ddim"), [0, 1])
    assert step.x.isfinite().all(), "samples that are not finite, and no sentence"


def _mutate_state(random: Random, folder: Path) -> None:
    file = folder / RUN / "state/state.safetensors"
    if random.random() < 0.2:
        mutate_record(random, folder / RUN)
    file.write_bytes(mutate_tensors(random, file.read_bytes()))
    (folder / RUN / "mine.tmp-1").touch()


def _resume(folder: Path) -> Attempts:
    import torch
    from accelerate.state import AcceleratorState, GradientState

    from pipelines.storage.run import Run
    from pipelines.storage.weights import read_tensors
    from pipelines.train import Train, main

    run = Run(folder / RUN)
    mine = run.path / "mine.tmp-1"  # a file of the user's
    there = mine.exists()

    def resume() -> None:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        try:
            main(Train(resume=run.path))
        finally:
            weights = read_tensors(run.model_path)[0].values()
            assert all(tensor.isfinite().all() for tensor in weights if isinstance(tensor, torch.Tensor)), "good weights lost"
        assert mine.exists() == there, "a file of the user's is gone"

    yield resume


def _prepare_pipeline(seeds: Seeds, folder: Path) -> None:
    shutil.copytree(seeds.pipeline, folder / "pipeline")


def _mutate_pipeline(random: Random, folder: Path) -> None:
    _mutate_file(random, random.choice(files_of(folder / "pipeline", "**/*.json", "**/*.safetensors", "unet/config.json")))


def _import(folder: Path) -> Attempts:
    from pipelines.models.foreign.importing import import_model
    from pipelines.models.loading import load_model

    yield lambda: draw_samples(load_model(import_model(folder / "pipeline", folder / "imported"), device="cpu"))


def _prepare_encoder(seeds: Seeds, folder: Path) -> None:
    shutil.copytree(seeds.encoder, folder / "encoder")


def _mutate_encoder(random: Random, folder: Path) -> None:
    _mutate_file(random, random.choice(files_of(folder / "encoder", "*")))


def _mutate_file(random: Random, file: Path) -> None:
    """Damage one file of a model's folder: its weights, or its settings."""
    if random.random() < 0.1:
        make_special(random, file)
    elif file.suffix == ".safetensors":
        file.write_bytes(mutate_tensors(random, file.read_bytes()))
    else:
        file.write_bytes(mutate_json(random, file.read_bytes()))


def _encode(folder: Path) -> Attempts:
    from pipelines.datasets.text_encoders import make_encoder

    def encode() -> None:
        encoded = make_encoder(str(folder / "encoder")).encode(["a red cat", ""])
        assert encoded.tokens.isfinite().all(), "an encoding that is not finite, and no sentence"

    yield encode


def _prepare_classifier(seeds: Seeds, folder: Path) -> None:
    shutil.copy(seeds.classifier, folder / "classifier.safetensors")


def _mutate_classifier(random: Random, folder: Path) -> None:
    file = folder / "classifier.safetensors"
    file.write_bytes(mutate_tensors(random, file.read_bytes()))


def _classify(folder: Path) -> Attempts:
    import torch

    from pipelines.models.classifier import load_classifier

    def classify() -> None:
        classifier = load_classifier(folder / "classifier.safetensors", "cpu")
        assert classifier.features(torch.zeros(2, *classifier.image_shape)).isfinite().all(), "features that are not finite"

    yield classify


KINDS = {
    "weights": Kind("weights, sampled and published", prepare_runs, _mutate_weights, _use_weights),
    "state": Kind("a saved state, resumed", prepare_runs, _mutate_state, _resume),
    "diffusers": Kind("a folder of diffusers, imported", _prepare_pipeline, _mutate_pipeline, _import),
    "encoder": Kind("a text encoder's folder", _prepare_encoder, _mutate_encoder, _encode),
    "classifier": Kind("a classifier", _prepare_classifier, _mutate_classifier, _classify),
}
