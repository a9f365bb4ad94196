"""Training on captions that were encoded before, with a text encoder that is no longer there."""

import shutil

import pytest

from pipelines.datasets import conditions
from pipelines.sampling.prompts import condition_of
from pipelines.sampling.request import SamplingRequest


@pytest.fixture
def encoded_elsewhere(train, make_trainer, clip_folder, tmp_path, monkeypatch):
    """A way to train on captions whose encoder is gone, and the run that encoded them into the cache, here and unchanged."""
    monkeypatch.setenv("NOISESCOPE_CACHE", str(tmp_path / "cache"))
    encoder = tmp_path / "encoder"
    shutil.copytree(clip_folder, encoder)
    settings = {"unet": "text", "encoder": str(encoder), "templates": ("a {}", "{}"), "steps": 4, "eval_every": 2}
    known = train(tmp_path / "known", **settings)
    encoder.rename(tmp_path / "away")
    conditions._make_encoder.cache_clear()
    return lambda name, **changed: train(tmp_path / name, **settings | changed), known


def test_a_training_needs_no_encoder_where_its_captions_are_encoded(encoded_elsewhere, tmp_path):
    train_again, known = encoded_elsewhere
    again = train_again("again")
    assert again.config == known.config
    assert again.metrics().drop(columns="seconds").equals(known.metrics().drop(columns="seconds"))
    assert len(list((again.path / "samples").iterdir())) == len(list((known.path / "samples").iterdir())) > 0


def test_other_captions_are_refused_without_their_encoder(encoded_elsewhere):
    train_again, known = encoded_elsewhere
    with pytest.raises(ValueError, match=r"unknown text encoder .*encoder': choose minilm, or"):
        train_again("other", templates=("one {}",))
    with pytest.raises(ValueError, match="unknown text encoder"):
        condition_of(known.config.condition, SamplingRequest(prompt=("a circle",)), [0])


def test_an_encoder_is_missing_where_nothing_is_encoded(encoded_elsewhere, tmp_path, monkeypatch):
    monkeypatch.setenv("NOISESCOPE_CACHE", str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="unknown text encoder"):
        encoded_elsewhere[0]("other")


def test_a_damaged_encoder_is_not_replaced_by_what_is_remembered(encoded_elsewhere, clip_folder, tmp_path):
    shutil.copytree(clip_folder, tmp_path / "encoder")
    (tmp_path / "encoder" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="could not be loaded"):
        encoded_elsewhere[0]("other")
