"""Classes by their names, and training on some of them only."""

import io

import datasets
import numpy as np
import pytest
from PIL import Image

from pipelines.datasets.classes import find_class, name_in_words, select_classes
from pipelines.datasets.image_sets import load_images, preview_images
from pipelines.datasets.sources import open_dataset, resolve
from pipelines.storage.config import DataConfig

WORDNET = ["n01443537", "n02012849", "n02509815", "n03126707"]
WORDS = [
    "goldfish, Carassius auratus",
    "crane (n02012849)",
    "lesser panda, red panda, panda, bear cat, cat bear, Ailurus fulgens",
    "crane (n03126707)",
]


def png(grey):
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), grey, np.uint8)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def make_split(labels, names=WORDNET):
    """One image a label, as grey as its row's number."""
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=names))
    columns = {"image": [png(row) for row in range(len(labels))], "label": labels}
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.fixture
def hub_folder(tmp_path):
    """Images as the hub keeps them: parquet files, and WordNet's numbers for names."""
    folder = tmp_path / "hub"
    folder.mkdir()
    for split, labels in {"train": [0, 1, 2, 3, 2, 1, 0, 3], "valid": [3, 2, 1, 0]}.items():
        make_split(labels).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def test_a_class_is_found_by_its_name_or_a_synonym():
    assert find_class(WORDS, "Red Panda") == 2
    assert find_class(WORDS, " goldfish") == 0
    assert find_class(WORDS, "goldfish, carassius auratus") == 0
    assert find_class(["bear cat, panda", "panda"], "panda") == 1  # a name goes before a synonym
    assert find_class(WORDS, "gold") is None


def test_every_class_is_found_by_its_exact_name_and_doubt_is_refused():
    """However alike the names are: in case, in the encoding of an accent, in spaces, or as words of another's synonyms."""
    composed, apart = "caf\u00e9", "cafe\u0301"
    names = ["A", "a", " a", composed, apart, "Café", "b, a", "b", "3", "all", "ß", "SS", "10", "x, y", "X, z"]
    assert [find_class(names, name) for name in names] == list(range(len(names)))
    assert find_class(["A", composed], apart) == 1
    assert find_class(["Z", "new  york"], "New York ") == 1
    for wanted, either in {"sS": "'ß' and 'SS'", "CAFÉ": "and 'Café'", "c": None}.items():
        if either is None:
            assert find_class(names, wanted) is None
        else:
            with pytest.raises(ValueError, match=f"{wanted!r} fits . classes, .*{either}: write the name of one exactly"):
                find_class(names, wanted)
    assert find_class(names, "x") == 13
    with pytest.raises(ValueError, match="'Ab' fits 2 classes, 'AB' and 'ab'"):
        select_classes(make_split([0, 1], ["AB", "ab"]), ["Ab"])
    assert select_classes(make_split([0, 1, 1], ["AB", "ab"]), ["ab"]).num_rows == 2


def test_numbers_of_wordnet_become_words():
    named = name_in_words(make_split([2, 0, 3, None]))
    assert named.features["label"].names == WORDS
    assert named["label"][:] == [2, 0, 3, -1]
    assert [image.getpixel((0, 0))[0] for image in named["image"]] == [0, 1, 2, 3]


def test_other_names_stay_as_they_are():
    split = make_split([0, 1], ["ant", "n1 bee"])
    assert name_in_words(split) is split


def test_some_classes_become_the_only_ones_in_the_order_asked_for():
    """As if the dataset had never held others."""
    some = select_classes(name_in_words(make_split([0, 2, 1, 2, None, 3, 0])), ["red panda", "goldfish"])
    assert some.features["label"].names == ["red panda", "goldfish"]
    assert some["label"][:] == [1, 0, 0, 1]
    assert [image.getpixel((0, 0))[0] for image in some["image"]] == [0, 1, 3, 6]


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        (
            ["goldfish", "rose"],
            "no class 'rose' in this dataset: choose --only-classes from goldfish, Carassius auratus, crane",
        ),
        (["red panda", "lesser panda"], "two of these are the same class: red panda, lesser panda"),
    ],
)
def test_classes_that_cannot_be_are_refused(wanted, problem):
    with pytest.raises(ValueError, match=problem):
        select_classes(name_in_words(make_split([0, 1])), wanted)


def test_a_dataset_without_classes_has_none_to_choose():
    with pytest.raises(ValueError, match="no column of classes in this dataset"):
        select_classes(make_split([0]).remove_columns("label"), ["rose"])


def test_training_images_are_those_of_the_classes_alone(hub_folder):
    config = resolve(DataConfig(data=str(hub_folder), image_size=8, flip=False, only_classes=("red panda", "goldfish")))
    train, held_out = load_images(config)
    assert train.images[:, 0, 0, 0].tolist() == [0, 2, 4, 6]
    assert held_out.images[:, 0, 0, 0].tolist() == [1, 3]
    assert sorted(preview_images(config)[:, 0, 0, 0].tolist()) == [0, 2, 4, 6]


def test_a_split_that_keeps_its_classes_to_itself_is_left_out(hub_folder):
    make_split([-1, -1]).to_parquet(hub_folder / "test-00000-of-00001.parquet")
    assert "test" in open_dataset(str(hub_folder))
    assert "test" not in open_dataset(str(hub_folder), ["goldfish"])


def test_networks_are_told_of_these_classes_alone(hub_folder, tmp_path, train):
    classes = ("red panda", "goldfish")
    run = train(tmp_path / "run", unet="class", data=str(hub_folder), image_size=8, batch_size=2, steps=1, only_classes=classes)
    assert run.config.condition.classes == run.config.data.only_classes == classes
