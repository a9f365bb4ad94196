"""Requests to networks that are told what to show: classes, prompts, negative prompts and guidance."""

import json

import pytest
import torch

from pipelines.models.loading import load_model
from pipelines.sampling.prompts import condition_notes, condition_of
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.run import Run


def last(model, **request):
    *_, step = sample(model, SamplingRequest(num_images=4, steps=3, **request))
    return step.x


def test_a_class_by_name_by_number_and_all_in_turn(class_run):
    model = load_model(class_run)
    by_name = last(model, label="Squares")
    assert torch.equal(by_name, last(model, label="1"))
    assert not torch.equal(by_name, last(model, label="0"))
    in_turn_ = last(model, label="all")
    torch.testing.assert_close(in_turn_[1::2], by_name[1::2], rtol=0, atol=0.02)
    assert not torch.equal(last(model), by_name)


def test_guidance_1_is_the_conditional_model_and_more_is_more(class_run):
    model = load_model(class_run, dtype=torch.float32)
    plain = last(model, label="0")
    assert torch.equal(last(model, label="0", guidance=1.0), plain)
    assert not torch.equal(last(model, label="0", guidance=3.0), plain)
    *_, step = sample(model, SamplingRequest(num_images=2, steps=5, label="0", guidance=3.0))
    assert step.nfe == 10


def test_image_i_is_the_same_in_any_batch(class_run, text_run):
    for run, request in ((class_run, {"label": "all"}), (text_run, {"prompt": ("a circle", "a square", "a thing")})):
        model = load_model(run, dtype=torch.float32)
        asked = SamplingRequest(num_images=7, steps=3, guidance=2.0, **request)
        *_, whole = sample(model, asked)
        *_, part = sample(model, asked, images=[5, 2])
        torch.testing.assert_close(whole.x[[5, 2]], part.x, rtol=1e-4, atol=1e-4)


def test_a_text_model_follows_the_prompt_and_leads_away_from_the_negative_one(text_run):
    model = load_model(text_run, dtype=torch.float32)
    one, two = last(model, prompt=("a photo of a circle",)), last(model, prompt=("a photo of a square",))
    assert not torch.equal(one, two)
    guided = last(model, prompt=("a circle",), guidance=3.0)
    assert not torch.equal(guided, last(model, prompt=("a circle",), guidance=3.0, negative_prompt="a square"))
    same = last(model, prompt=("a circle",), guidance=3.0, negative_prompt="a circle")
    torch.testing.assert_close(same, last(model, prompt=("a circle",)), rtol=1e-3, atol=1e-3)


def test_a_text_model_samples_the_same_without_the_cache(text_run, tmp_path, monkeypatch):
    before = last(load_model(text_run), prompt=("a circle",))
    monkeypatch.setenv("NOISESCOPE_CACHE", str(tmp_path / "empty"))
    assert torch.equal(last(load_model(text_run.model_path), prompt=("a circle",)), before)


@pytest.mark.parametrize("prompt", ["", "🌸👟", "صورة حذاء", "word " * 2000])
@pytest.mark.filterwarnings("ignore:.*")
def test_odd_prompts_are_prompts_too(text_run, prompt):
    assert last(load_model(text_run), prompt=(prompt,)).isfinite().all()


@pytest.mark.parametrize(
    ("kind", "request_", "sentence"),
    [
        ("class", {"label": "triangles"}, "unknown class 'triangles': choose a number from 0 to 1, or one of circles, squares"),
        ("class", {"label": "2"}, "unknown class '2'"),
        ("class", {"label": "-1"}, "unknown class '-1'"),
        ("class", {"prompt": ("a circle",)}, "a prompt was given, and .* 'class': it takes a label"),
        ("text", {"label": "0"}, "a label was given, and .* 'text': it takes a prompt"),
        ("baseline", {"label": "0"}, "takes neither labels nor prompts"),
        ("class", {"label": "0", "guidance": 2.0, "negative_prompt": "x"}, "a negative prompt was given, and .* takes a label"),
        ("text", {"guidance": 3.0}, "needs a condition: give a prompt"),
        ("baseline", {"guidance": 3.0}, "choose a conditional model"),
        ("class", {"label": "0", "guidance": -1.0}, "guidance=-1.0: choose a finite number of 0 or more"),
    ],
)
def test_what_cannot_be_asked_is_refused(class_run, text_run, tiny_run, kind, request_, sentence):
    model = load_model({"class": class_run, "text": text_run, "baseline": tiny_run}[kind])
    with pytest.raises(ValueError, match=sentence):
        sample(model, SamplingRequest(**request_))


@pytest.mark.parametrize("blank", ["", "  "])
def test_no_words_are_no_prompt(text_run, blank):
    """As in training, where images without a caption have their condition withheld."""
    model = load_model(text_run, dtype=torch.float32)
    torch.testing.assert_close(last(model, prompt=(blank,)), last(model), rtol=0, atol=1e-5)
    guided = {"prompt": ("a circle",), "guidance": 3.0}
    torch.testing.assert_close(last(model, **guided, negative_prompt=blank), last(model, **guided), rtol=0, atol=1e-5)


def test_a_prompt_is_one_prompt_and_a_number_is_a_class(text_run, class_run):
    assert SamplingRequest(prompt="a circle") == SamplingRequest(prompt=("a circle",))
    assert torch.equal(last(load_model(class_run), label=1), last(load_model(class_run), label="1"))


def test_prompts_do_not_change_each_other(text_run):
    """Not by a bit: the encoder reads each one alone."""
    config = text_run.config.condition
    together, _ = condition_of(config, SamplingRequest(prompt=("a circle", "a square", "x " * 20)), range(3))
    alone, _ = condition_of(config, SamplingRequest(prompt=("a square",)), [5])
    assert torch.equal(together.tokens[1:2], alone.tokens)
    assert torch.equal(together.mask[1:2], alone.mask)


def test_what_does_not_fit_is_noted(text_run):
    config = text_run.config.condition
    numbers = " ".join(map(str, range(40)))
    [note] = condition_notes(config, SamplingRequest(prompt=("a circle", numbers)))
    assert note.endswith("these words are lost: 30, 31, 32, 33, 34, 35, 36, 37, 38, 39")
    assert condition_notes(config, SamplingRequest(prompt=("a",), negative_prompt=numbers, guidance=2.0)) == [note]
    assert condition_notes(config, SamplingRequest(prompt=("a circle",))) == condition_notes(config, SamplingRequest()) == []


def test_a_negative_prompt_without_guidance_is_noted(text_run):
    config = text_run.config.condition
    without, guided = (SamplingRequest(prompt=("a circle",), negative_prompt="a", guidance=scale) for scale in (1.0, 3.0))
    [note] = condition_notes(config, without)
    assert "no effect at guidance 1" in note
    assert condition_notes(config, guided) == []


def test_a_request_survives_the_metadata_of_a_picture():
    request = SamplingRequest(prompt=("a", "b"), negative_prompt="c", guidance=2.5, guidance_interval=(0.1, 0.9))
    again = SamplingRequest(**json.loads(json.dumps(vars(request))))
    assert again == request
    assert hash(again) == hash(request)


def test_the_weights_alone_rebuild_a_conditional_model(class_run, tmp_path):
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(class_run.model_path.read_bytes())
    model = load_model(alone)
    assert model.config.condition.classes == ("circles", "squares")
    assert torch.equal(last(model, label="1"), last(load_model(class_run), label="1"))
    assert Run(alone).config == class_run.config
