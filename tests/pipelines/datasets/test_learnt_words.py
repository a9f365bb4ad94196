"""Which words of a prompt a model has learnt from, as far as its run tells."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.datasets import conditions, learnt_words
from pipelines.datasets.captions import DATASET_TEMPLATES, captions_for
from pipelines.datasets.learnt_words import nearest_caption, recorded_captions, unlearnt_words
from pipelines.storage.config import ConditionConfig
from pipelines.storage.run import Run
from pipelines.storage.runs import PUBLISHED

NAMES = ["rose", "iris", "tiger lily", "English marigold", "hibiscus", "one-sided bellflower", "ball moss"]


@pytest.mark.parametrize("synonyms", [False, True])
def test_captions_made_from_classes_are_known_all_of_them(synonyms):
    """Also those by other templates and, if the run was trained with them, by synonyms: they follow from the first ones."""
    made = captions_for(NAMES, DATASET_TEMPLATES["oxford_flowers"], synonyms)
    condition = ConditionConfig(examples=tuple(own[0] for own in made), synonyms=synonyms, text_dim=4)
    assert set(recorded_captions(condition, "oxford_flowers")) == {caption for own in made for caption in own}
    own_words = ("a rose in the rain", "rain")
    assert recorded_captions(replace(condition, examples=own_words, text_column="text"), "oxford_flowers") == own_words


def test_every_word_of_a_caption_is_learnt_and_others_are_told():
    config = Run(PUBLISHED / "flowers-text").config
    captions = recorded_captions(config.condition, config.data.data)
    assert not any(unlearnt_words(caption, captions) for caption in captions)
    assert unlearnt_words("a close-up photo of ROSES, a type of flower", captions) == []
    assert unlearnt_words("a square bicycle under the roses", captions) == ["square", "bicycle"]
    assert unlearnt_words("", captions) == []


def test_the_nearest_caption_of_a_caption_is_itself(text_run):
    known = text_run.config.condition, text_run.config.data.data
    for caption in recorded_captions(*known):
        found = nearest_caption(caption, *known)
        assert found.caption == caption
        assert found.similarity == pytest.approx(1, abs=1e-4)
    assert nearest_caption("a bright yellow banana", *known).similarity < 0.999
    in_capitals = nearest_caption(caption.upper(), *known)  # which MiniLM does not tell apart, but which is no caption
    assert (in_capitals.caption, in_capitals.similarity) == (caption, pytest.approx(1, abs=1e-4))
    with pytest.raises(ValueError, match="has recorded no captions"):
        nearest_caption("a", replace(known[0], examples=()), known[1])


def test_captions_are_encoded_once_and_only_when_a_prompt_is_none_of_them(text_run, monkeypatch, tmp_path):
    monkeypatch.setenv("NOISESCOPE_CACHE", str(tmp_path))
    known = text_run.config.condition, text_run.config.data.data
    own = recorded_captions(*known)
    encoder, encoded = conditions.trained_encoder(known[0]), []

    class Counting:
        fingerprint = "a fingerprint"

        def encode(self, texts):
            encoded.extend(texts)
            return encoder.encode(texts)

    monkeypatch.setattr(conditions, "trained_encoder", lambda _: Counting())
    with learnt_words._ENCODING:  # as while another thread encodes captions
        assert nearest_caption(own[0], *known).similarity == 1
    assert encoded == []

    def give_up():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        nearest_caption("a banana", *known, give_up)
    assert encoded == []
    pauses = []
    for pause in (lambda: pauses.append("first"), lambda: pauses.append("second")):  # the second finds the vectors on disk
        nearest_caption("a banana", *known, pause)
    assert pauses == ["first"], "one batch"
    assert sorted(encoded) == sorted([*own, "a banana", "a banana"])
