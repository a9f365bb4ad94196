"""Classes and captions of training images: from the data to training, and what a run records of them."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.datasets import conditions as conditions_module
from pipelines.datasets import sources
from pipelines.datasets.conditions import Conditions, held_out_labels
from pipelines.datasets.image_sets import load_images
from pipelines.datasets.pretrained import MINILM_SHA256
from pipelines.datasets.sources import open_source
from pipelines.models.loading import load_model
from pipelines.sampling.prompts import conditions_in_turn
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.config import ConditionConfig
from pipelines.training.reading import open_training

CLASSES = ("circles", "squares")  # the sub-folders of the shapes


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
    one, other = (load_model(run, dtype=torch.float32).denoiser.state_dict() for run in (whole, parts))
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name])


def test_captions_come_from_the_classes_and_are_recorded(text_run):
    condition = text_run.config.condition
    assert condition.text_dim == 384
    assert condition.encoder_digest == MINILM_SHA256
    assert condition.examples == ("a photo of a circles", "a photo of a squares")
    assert len(conditions_in_turn(condition, range(5))) == 5


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


def test_class_numbers():
    assert ConditionConfig(classes=("T-shirt", "Bag")).class_number("bag") == 1
    assert ConditionConfig(classes=("7", "Bag")).class_number("7") == 0  # a name goes before a number


def test_data_without_classes_is_refused_by_a_class_network(make_trainer, tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    for number in range(6):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
    with pytest.raises(ValueError, match="these data have no classes: sort the pictures into at least two folders"):
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


def test_the_images_the_report_and_the_conditions_come_from_one_listing(make_trainer, tmp_path, image_folder, monkeypatch):
    """Whatever changes in the folder meanwhile, the rows of one are those of the other."""
    listed = []
    list_files = sources.list_files
    monkeypatch.setattr(sources, "list_files", lambda root: listed.append(root) or list_files(root))
    make_trainer(tmp_path / "run", unet="class", data=str(image_folder))
    assert listed == [image_folder]


def test_held_out_images_without_a_class_cannot_say_whether_samples_agree(make_trainer, tmp_path):
    config = make_trainer(tmp_path / "run", unet="class", data=parquet(tmp_path / "data", label=[0, None, 1])).config
    _, held_out = load_images(config.data)
    assert held_out_labels(config, open_source(config.data.data), held_out, ("dark", "light")) is None


def test_a_dropout_of_everything_is_refused():
    with pytest.raises(ValueError, match="condition_dropout=1"):
        ConditionConfig(condition_dropout=1.0)


def test_a_text_encoder_is_loaded_once_for_all_who_ask_meanwhile(monkeypatch):
    loaded = []

    def load(name):
        loaded.append(name)
        time.sleep(0.1)
        return object()

    monkeypatch.setattr(conditions_module, "_make_encoder", lru_cache(maxsize=2)(load))
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(conditions_module.encoder_called, ["minilm"] * 2)
    assert first is second
    assert loaded == ["minilm"]
