"""Captions: class names as prose, templates, and finding the columns of words and labels."""

from __future__ import annotations

import re

import datasets
import pytest

from benchmarks.agreement import PROMPTS
from pipelines.common.json_files import read_json
from pipelines.datasets.captions import (
    DATASET_TEMPLATES,
    TEMPLATES,
    captions_for,
    check_templates,
    class_names,
    has_labels,
    label_column,
    readable_name,
    synonyms,
    templates_for,
    text_column,
)

# The class names of zalando-datasets/fashion_mnist, in the two spellings that are about.
FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def make_dataset(**features) -> datasets.Dataset:
    """An empty dataset with these columns."""
    return datasets.Dataset.from_dict({name: [] for name in features}, features=datasets.Features(features))


TEXT = datasets.Value("string")
NUMBER = datasets.Value("int64")
KINDS = datasets.ClassLabel(names=["Circle", "Square"])


# --- names and templates


@pytest.mark.parametrize(
    ("name", "prose"),
    [
        ("Trouser", "pair of trousers"),
        ("T - shirt / top", "t-shirt or top"),
        ("T-shirt/top", "t-shirt or top"),
        ("Ankle boot", "ankle boot"),
        ("golden_retriever", "golden retriever"),
        ("tench, Tinca tinca", "tench"),
        ("hard-leaved pocket orchid", "hard-leaved pocket orchid"),
        ("colt's foot", "colt's foot"),
        ("  Persian   cat ", "persian cat"),
    ],
)
def test_names_become_prose(name, prose):
    assert readable_name(name) == prose


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("bag", "a bag"),
        ("Ankle boot", "an ankle boot"),
        ("orange", "an orange"),
        ("English marigold", "an english marigold"),
        ("umbrella", "an umbrella"),
        ("hourglass", "an hourglass"),
        ("horse", "a horse"),
        ("unicorn", "a unicorn"),
        ("used car", "a used car"),
        ("European bee", "a european bee"),
        ("one-piece", "a one-piece"),
        ("onesie", "an onesie"),
        ("8", "an 8"),
        ("1", "a 1"),
        ("11", "an 11"),
        ("110 volt plug", "a 110 volt plug"),
    ],
)
def test_the_article_suits_the_name(name, caption):
    assert captions_for([name], ("a {}", "an {}")) == [[caption]]


def test_every_class_in_every_template():
    captions = captions_for(FASHION, ("a photo of a {}", "An {} on white", "{}", "two of {}, {{}}"))
    assert len(captions) == 10
    assert captions[9] == [
        "a photo of an ankle boot",
        "An ankle boot on white",
        "ankle boot",
        "two of ankle boot, {ankle boot}",
    ]
    assert captions[0][:2] == ["a photo of a t-shirt or top", "A t-shirt or top on white"]


def test_equal_captions_are_given_once():
    assert captions_for(["bag"], ("a {}", "an {}", "a {}", "{}")) == [["a bag", "bag"]]


def test_names_may_contain_braces():
    assert captions_for(["{odd} {0}"], ("a {}",)) == [["a {odd} {0}"]]


def test_only_the_word_a_is_an_article():
    assert captions_for(["orange"], ("banana {}", "a big {}")) == [["banana orange", "a big orange"]]


@pytest.mark.parametrize("templates", [TEMPLATES, *DATASET_TEMPLATES.values()])
def test_the_shipped_templates(templates):
    check_templates(templates)
    captions = captions_for(FASHION, templates)
    assert all(len(own) == len(templates) for own in captions)
    assert len({caption for own in captions for caption in own}) == 10 * len(templates), "no caption fits two classes"


@pytest.mark.parametrize(
    "data", ["fashion_mnist", "zalando-datasets/fashion_mnist", "/data/fashion_mnist", "/data/fashion-mnist/"]
)
def test_templates_of_a_dataset(data):
    assert templates_for(data) == DATASET_TEMPLATES["fashion_mnist"]
    assert "a black and white photo of a {}" in templates_for(data)


def test_templates_of_any_other_dataset():
    assert templates_for("nelorth/oxford-flowers") == DATASET_TEMPLATES["oxford_flowers"]
    assert templates_for("somebody/else") == TEMPLATES


@pytest.mark.parametrize(
    ("templates", "said"),
    [
        (("a photo of a {}", "a photo"), "'a photo' has no place for the class name"),
        (("a {name}",), "'a {name}'"),
        ((), "no caption templates"),
    ],
)
def test_bad_templates_are_refused(templates, said):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refused:
        captions_for(["bag"], templates)
    assert said in str(refused.value)


# --- synonyms


def test_synonyms_follow_the_class_s_own_name():
    own, other = captions_for(["Trouser", "Wing nut"], ("a photo of a {}", "a {} on white", "{}"), with_synonyms=True)
    assert own[:3] == ["a photo of a pair of trousers", "a pair of trousers on white", "pair of trousers"]
    assert {"a photo of a trouser", "a trouser on white", "trouser"} <= set(own)
    assert {"a photo of jeans", "jeans"} <= set(own), "a plural has no article"
    assert "jeans on white" not in own, "a plural does not qualify a noun"
    assert other == ["a photo of a wing nut", "a wing nut on white", "wing nut"], "no synonyms are listed"


def test_the_listed_synonyms_mean_one_class_each():
    meanings = [text for name, own in synonyms().items() for text in {name, *(phrase.text for phrase in own)}]
    assert len(meanings) == len(set(meanings)), "a caption that fits two classes teaches neither"
    assert all(text == " ".join(text.replace(",", "").lower().split()) for text in meanings)
    assert {readable_name(name) for name in FASHION} <= set(synonyms())


def test_prompts_of_rare_words_are_in_no_caption():
    listed = {phrase.text for own in synonyms().values() for phrase in own} | set(synonyms())
    templates = {template for own in (TEMPLATES, *DATASET_TEMPLATES.values()) for template in own}
    for name, own in read_json(PROMPTS)["rare words"].items():
        [captions] = captions_for([name], sorted(templates), with_synonyms=True)
        prompts = {*own, *(re.sub("^an? ", "", prompt) for prompt in own)}
        assert not prompts & (listed | set(captions)), name


# --- columns


def test_the_only_text_column():
    assert text_column(make_dataset(image=datasets.Image(), label=KINDS, words=TEXT)) == "words"
    assert text_column(make_dataset(words=datasets.Value("large_string"))) == "words"


@pytest.mark.parametrize("english", ["en_text", "text", "Caption", "txt"])
def test_the_obvious_column_of_several(english):
    columns = {"zh_text": TEXT, "file_name": TEXT, english: TEXT}
    assert text_column(make_dataset(image=datasets.Image(), **columns)) == english


def test_a_named_text_column():
    assert text_column(make_dataset(en_text=TEXT, zh_text=TEXT), "zh_text") == "zh_text"


@pytest.mark.parametrize(
    ("features", "name", "said"),
    [
        (
            {"title": TEXT, "source": TEXT},
            None,
            "2 text columns in this dataset: choose one of title, source with --text-column",
        ),
        (
            {"number": NUMBER, "label": KINDS},
            None,
            "these data have no captions: name the column that holds them (number) with --text-column, put a text file",
        ),
        ({"text": TEXT}, "words", "no text column 'words' in this dataset: choose one of text with"),
        ({"text": TEXT, "label": KINDS}, "label", "column 'label' is not a text column"),
    ],
)
def test_no_clear_text_column(features, name, said):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refused:
        text_column(make_dataset(**features), name)
    assert said in str(refused.value)


def test_the_label_column():
    assert label_column(make_dataset(image=datasets.Image(), kind=KINDS, text=TEXT)) == "kind"
    assert label_column(make_dataset(coarse=KINDS, label=KINDS)) == "label"
    assert label_column(make_dataset(coarse=KINDS, label=KINDS), "coarse") == "coarse"
    assert has_labels(make_dataset(coarse=KINDS, fine=KINDS))
    assert not has_labels(make_dataset(label=NUMBER, text=TEXT))


@pytest.mark.parametrize(
    ("features", "name", "said"),
    [
        (
            {"fine": KINDS, "coarse": KINDS},
            None,
            "2 label columns in this dataset: choose one of fine, coarse with --label-column",
        ),
        (
            {"label": NUMBER},
            None,
            "these data have no classes: name the column that holds them (label) with --label-column, sort the pictures into",
        ),
        (
            {"label": NUMBER, "kind": KINDS},
            "label",
            "column 'label' is not a label column in this dataset: choose one of kind",
        ),
        ({"kind": KINDS}, "species", "no label column 'species'"),
    ],
)
def test_no_clear_label_column(features, name, said):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refused:
        label_column(make_dataset(**features), name)
    assert said in str(refused.value)


def test_class_names_of_a_folder_of_pictures(image_folder):
    pictures = datasets.load_dataset(str(image_folder))["train"]
    assert class_names(pictures) == ["circles", "squares"]
    assert class_names(make_dataset(a=KINDS, b=datasets.ClassLabel(names=["x"])), "b") == ["x"]
