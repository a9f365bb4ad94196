"""Training on captions that were encoded before, with a text encoder that is no longer there."""

import shutil

import pytest

from pipelines.datasets import conditions
from pipelines.sampling.prompts import condition_of
from pipelines.sampling.request import SamplingRequest
from pipelines.training.rehearsal import rehearse


@pytest.fixture
def settings(clip_folder, tmp_path, monkeypatch):
    """Of a training with a text encoder in a folder of its own, and an empty cache."""
    monkeypatch.setenv("NOISESCOPE_CACHE", str(tmp_path / "cache"))
    shutil.copytree(clip_folder, tmp_path / "encoder")
    return {"unet": "text", "encoder": str(tmp_path / "encoder"), "templates": ("a {}", "{}"), "steps": 4, "eval_every": 2}


def put_away(folder):
    """Take the encoder from this machine, and from this process's memory."""
    folder.rename(folder.with_name("away"))
    conditions._make_encoder.cache_clear()


@pytest.fixture
def encoded_elsewhere(train, settings, tmp_path):
    """A way to train on captions whose encoder is gone, and the run that encoded them into the cache."""
    known = train(tmp_path / "known", **settings)
    put_away(tmp_path / "encoder")
    return lambda name, **changed: train(tmp_path / name, **settings | changed), known


def test_a_training_needs_no_encoder_where_its_captions_are_encoded(encoded_elsewhere):
    train_again, known = encoded_elsewhere
    again = train_again("again")
    assert again.config == known.config
    assert again.metrics().drop(columns="seconds").equals(known.metrics().drop(columns="seconds"))
    assert len(list((again.path / "samples").iterdir())) == len(list((known.path / "samples").iterdir())) > 0


def test_an_estimate_encodes_all_that_a_training_needs(train, small_config, settings, tmp_path):
    rehearse(small_config(**settings))
    put_away(tmp_path / "encoder")
    assert list((train(tmp_path / "run", **settings).path / "samples").iterdir())


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
