"""Networks that are told what to show: from the data to training and sampling."""

import json
import shutil
from dataclasses import replace

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.datasets.conditions import Conditions, held_out_labels
from pipelines.datasets.image_sets import load_images
from pipelines.datasets.pretrained import MINILM_SHA256
from pipelines.models.loading import load_model
from pipelines.sampling.prompts import condition_notes, condition_of, conditions_in_turn
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.config import ConditionConfig
from pipelines.storage.runs import Run
from pipelines.training.reading import open_training

CLASSES = ("circles", "squares")  # the sub-folders of the shapes


def last(model, **request):
    *_, step = sample(model, SamplingRequest(num_images=4, steps=3, **request))
    return step.x


def test_labels_belong_to_their_images(make_trainer, tmp_path, image_folder):
    trainer = make_trainer(tmp_path / "run", unet="class")
    assert trainer.config.condition.classes == CLASSES
    train_images, held_out = load_images(trainer.config.data)
    for images, conditions in ((train_images, trainer.task.data.conditions), (held_out, trainer.task.data.held_out_conditions)):
        assert len(images) == len(conditions.labels)
        for image, label in zip(images.images, conditions.labels.tolist(), strict=True):
            files = sorted((image_folder / CLASSES[label]).glob("*.png"))
            known = [np.asarray(Image.open(file).convert("RGB").resize((8, 8), Image.Resampling.LANCZOS)) for file in files]
            nearest = min(np.abs(picture.astype(int) - image.permute(1, 2, 0).numpy()).mean() for picture in known)
            assert nearest < 2


def test_conditions_are_withheld_at_the_stated_rate(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path / "run", unet="class", condition_dropout=0.3, batch_size=40)
    dropped = []
    for trainer.step in range(100):
        dropped += [condition.dropped for *_, condition in trainer.batches()]
    assert torch.cat(dropped).float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_every_way_to_say_it_is_used():
    conditions = Conditions(
        captions=torch.tensor([[0, 1, 2]]), tokens=torch.arange(3.0).view(3, 1, 1), mask=torch.ones(3, 1).bool()
    )
    ways = conditions.of(torch.zeros(300, dtype=torch.long), torch.rand(300)).tokens.flatten()
    assert all(50 < (ways == way).sum() < 150 for way in range(3))
    assert conditions.of(torch.zeros(5, dtype=torch.long)).tokens.sum() == 0


def test_synonyms_are_captions_too(make_trainer, tmp_path, image_folder):
    for folder, name in zip(sorted(image_folder.iterdir()), ("Bag", "Trouser"), strict=True):
        shutil.copytree(folder, tmp_path / "garments" / name)
    data = {"data": str(tmp_path / "garments"), "unet": "text", "templates": ("a {}", "{}")}
    plain, rich = (make_trainer(tmp_path / f"run-{on}", synonyms=on, **data).task.data.conditions for on in (False, True))
    assert len(plain.tokens) == 4
    assert len(rich.tokens) > 60
    for bag, trouser in ((plain.captions[0], plain.captions[-1]), (rich.captions[0], rich.captions[-1])):
        assert not set(bag.tolist()) & set(trouser.tolist())


def test_synonyms_are_refused_where_none_are_listed(make_trainer, tmp_path):
    with pytest.raises(ValueError, match=r"no synonyms are listed for the 2 classes of .*: choose --synonyms False"):
        make_trainer(tmp_path / "run", unet="text", synonyms=True)


def test_validation_is_logged_with_and_without_the_condition(class_run):
    table = class_run.metrics().dropna(subset=["val_loss"])
    assert (table["val_loss"] != table["val_loss_unconditional"]).all()


@pytest.mark.parametrize("kind", ["class", "text"])
def test_a_resumed_run_logs_the_same(train, make_trainer, tmp_path, kind):
    whole = train(tmp_path / "whole", unet=kind, steps=8)
    trainer = make_trainer(tmp_path / "parts", unet=kind, steps=8)
    while trainer.step < 4:
        trainer.train_step()
    trainer.log(evaluate=False)
    trainer.save()
    parts = train(tmp_path / "parts", unet=kind, steps=8)
    assert parts.metrics()["loss"].iloc[-1] == whole.metrics()["loss"].iloc[-1]
    for name, tensor in load_model(whole, dtype=torch.float32).denoiser.state_dict().items():
        assert torch.equal(tensor, load_model(parts, dtype=torch.float32).denoiser.state_dict()[name])


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


def test_captions_come_from_the_classes_and_are_recorded(text_run):
    condition = text_run.config.condition
    assert condition.text_dim == 384
    assert condition.encoder_digest == MINILM_SHA256
    assert condition.examples == ("a photo of a circles", "a photo of a squares")
    assert len(conditions_in_turn(condition, range(5))) == 5


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


@pytest.mark.parametrize(
    ("recorded", "sentence"),
    [
        ({"text_dim": 512}, r"'minilm' has width 384 .*trained with 'minilm' of width 512"),
        (
            {"encoder": "sentence-transformers/all-MiniLM-L6-v2", "encoder_digest": "f" * 64},
            r"'minilm' .*53aa51.* with 'sente.*fff",
        ),
    ],
)
def test_another_encoder_is_refused_with_both_names(text_run, recorded, sentence):
    model = load_model(text_run)
    other = replace(model, config=replace(model.config, condition=replace(model.config.condition, **recorded)))
    with pytest.raises(ValueError, match=sentence):
        sample(other, SamplingRequest(prompt=("a circle",)))


def test_nor_does_a_run_go_on_with_another_encoder(text_run):
    config = replace(text_run.config, condition=replace(text_run.config.condition, encoder_digest="f" * 64))
    with pytest.raises(ValueError, match="restore that encoder"):
        open_training(text_run, config)


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


def test_class_numbers():
    assert ConditionConfig(classes=("T-shirt", "Bag")).class_number("bag") == 1
    assert ConditionConfig(classes=("7", "Bag")).class_number("7") == 0  # a name goes before a number


def test_data_without_classes_is_refused_by_a_class_network(make_trainer, tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    for number in range(6):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
    with pytest.raises(ValueError, match="no label column in this dataset"):
        make_trainer(tmp_path / "run", unet="class", data=str(folder))


def parquet(folder, **columns):
    """Grey images as the hub keeps them, a train and a validation split alike."""
    folder.mkdir()
    features = {name: datasets.ClassLabel(names=["dark", "light"]) for name in columns if name == "label"}
    features |= {name: datasets.Value("string") for name in columns if name == "text"}
    pictures = [Image.new("RGB", (8, 8), (20 * row,) * 3) for row in range(len(next(iter(columns.values()))))]
    table = datasets.Dataset.from_dict(
        {"image": pictures, **columns}, features=datasets.Features(image=datasets.Image(), **features)
    )
    for split in ("train", "validation"):
        table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return str(folder)


@pytest.mark.parametrize(
    ("kind", "columns", "known"),
    [
        ("class", {"label": [0, None, 1, -1, 0, 1]}, [True, False, True, False, True, True]),
        ("text", {"label": [0, None, 1, -1, 0, 1]}, [True, False, True, False, True, True]),
        ("text", {"text": ["a", "", None, "b", " ", "a"]}, [True, False, False, True, False, True]),
    ],
)
def test_images_without_a_class_or_a_caption_are_trained_on_without(make_trainer, tmp_path, capsys, kind, columns, known):
    data = parquet(tmp_path / "data", **columns)
    trainer = make_trainer(tmp_path / "run", unet=kind, data=data, condition_dropout=0.0, steps=2)
    missing = {"class": "class", "text": "caption"}[kind]
    assert f"{known.count(False)} of 6 training images have no {missing}" in capsys.readouterr().out
    condition = trainer.task.data.conditions.of(torch.arange(6), torch.rand(6))
    assert condition.dropped.tolist() == [not it for it in known]
    if kind == "class":
        assert condition.labels[torch.tensor(known)].tolist() == [0, 1, 0, 1]
    trainer.fit()
    assert trainer.run.metrics()["loss"].notna().any()
    *_, step = sample(
        load_model(trainer.run), SamplingRequest(num_images=3, steps=2), condition=condition.select(torch.arange(3))
    )
    assert step.x.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "columns", "sentence"),
    [
        ("class", {"label": [None, -1, None]}, "no training image of .* has a class in its column 'label'"),
        ("text", {"text": ["", None, " "]}, "no image of .* has a caption"),
    ],
)
def test_data_whose_conditions_are_all_missing_is_refused(make_trainer, tmp_path, kind, columns, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_trainer(tmp_path / "run", unet=kind, data=parquet(tmp_path / "data", **columns))


def test_held_out_images_without_a_class_cannot_say_whether_samples_agree(make_trainer, tmp_path):
    config = make_trainer(tmp_path / "run", unet="class", data=parquet(tmp_path / "data", label=[0, None, 1])).config
    _, held_out = load_images(config.data)
    assert held_out_labels(config, held_out, ("dark", "light")) is None


def test_a_dropout_of_everything_is_refused():
    with pytest.raises(ValueError, match="condition_dropout=1"):
        ConditionConfig(condition_dropout=1.0)


def test_the_weights_alone_rebuild_a_conditional_model(class_run, tmp_path):
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(class_run.model_path.read_bytes())
    model = load_model(alone)
    assert model.config.condition.classes == CLASSES
    assert torch.equal(last(model, label="1"), last(load_model(class_run), label="1"))
    assert Run(alone).config == class_run.config
