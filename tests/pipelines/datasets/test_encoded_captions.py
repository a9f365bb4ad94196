"""Encoded captions on disk: encoded once, read back whole, and made anew where the file is not what it should be."""

from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_clip import save_clip

from pipelines.datasets.text_encoders import encode_cached, make_encoder

PROMPTS = ["a photo of a red cat", "", "dog", "a wild dog, a blue cat!"]


@pytest.fixture
def counted(clip, monkeypatch):
    """The small CLIP, and a list of what it was asked to encode."""
    asked, encode = [], clip.encode
    monkeypatch.setattr(clip, "encode", lambda texts: asked.append(texts) or encode(texts))
    return clip, asked


def test_captions_are_encoded_once(counted, tmp_path):
    encoder, asked = counted
    captions = ["red cat", "blue dog", "red cat", "a dog", "blue dog"]
    first = encode_cached(encoder, captions, tmp_path)
    assert [sorted(texts) for texts in asked] == [["a dog", "blue dog", "red cat"]]
    second = encode_cached(encoder, captions[::-1], tmp_path)
    assert len(asked) == 1
    for made, read, expected in zip(
        vars(first).values(), vars(second).values(), vars(encoder.encode(captions)).values(), strict=True
    ):
        torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)
        assert torch.equal(made, read.flip(0))


def test_the_cache_is_one_whole_safetensors_file(clip, tmp_path):
    encode_cached(clip, PROMPTS, tmp_path / "new" / "folder")
    (file,) = (tmp_path / "new" / "folder").iterdir()
    assert load_file(file).keys() == {"tokens", "mask", "pooled"}


def _flip_last_bit(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-9], lambda _: b"", _flip_last_bit, lambda _: pickle.dumps({"tokens": 1})],
    ids=["cut", "empty", "one bit", "pickle"],
)
def test_a_damaged_file_is_made_anew(counted, tmp_path, damage):
    encoder, asked = counted
    expected = encode_cached(encoder, PROMPTS, tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    again = encode_cached(encoder, PROMPTS, tmp_path)
    assert len(asked) == 2
    assert torch.equal(again.tokens, expected.tokens)
    assert file.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [file]


def test_another_programs_safetensors_file_is_made_anew(counted, tmp_path):
    encoder, asked = counted
    encode_cached(encoder, PROMPTS, tmp_path)
    (file,) = tmp_path.iterdir()
    save_file({"other": torch.zeros(2)}, file)
    encode_cached(encoder, PROMPTS, tmp_path)
    assert len(asked) == 2


def test_other_weights_or_texts_are_another_file(clip, tmp_path):
    folder = save_clip(tmp_path / "other")
    weights = load_file(folder / "model.safetensors")
    save_file({key: weight + 1 for key, weight in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    other = make_encoder(str(folder))
    assert other.fingerprint != clip.fingerprint
    mine = encode_cached(clip, ["dog"], tmp_path / "cache")
    assert not torch.equal(encode_cached(other, ["dog"], tmp_path / "cache").tokens, mine.tokens)
    assert not torch.equal(encode_cached(clip, ["cat"], tmp_path / "cache").tokens, mine.tokens)
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_the_same_files_elsewhere_have_the_same_fingerprint(clip, tmp_path):
    assert make_encoder(str(save_clip(tmp_path))).fingerprint == clip.fingerprint


def test_the_folder_follows_the_environment(clip, tmp_path, monkeypatch):
    monkeypatch.setenv("NOISESCOPE_CACHE", str(tmp_path / "mine"))
    encode_cached(clip, PROMPTS)
    assert len(list((tmp_path / "mine" / "text").glob("*.safetensors"))) == 1
    monkeypatch.delenv("NOISESCOPE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    encode_cached(clip, PROMPTS)
    assert len(list((tmp_path / "home" / ".cache" / "noisescope" / "text").glob("*.safetensors"))) == 1


def test_a_folder_that_cannot_be_written_costs_a_warning(clip, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="will not be cached"):
        encoded = encode_cached(clip, PROMPTS, tmp_path / "file")
    assert encoded.tokens.shape == (4, 12, 16)


def test_no_captions(clip, tmp_path):
    assert encode_cached(clip, [], tmp_path).tokens.shape == (0, 12, 16)
