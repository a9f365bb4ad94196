"""Configurations come back from JSON unchanged, and whatever is wrong in a file is said in one sentence."""

from __future__ import annotations

import json
import math
import re
from dataclasses import is_dataclass, replace
from typing import get_args, get_type_hints

import pytest
from pydantic import TypeAdapter, ValidationError

from pipelines.common.settings import Between, rules
from pipelines.sampling.request import SamplingRequest
from pipelines.storage.config import (
    FORMAT,
    DataConfig,
    DiffusionConfig,
    LogConfig,
    NetworkConfig,
    OptimizerConfig,
    RunConfig,
    config_from_json,
    config_to_json,
)

CONFIGS = [
    RunConfig(),
    RunConfig(network=NetworkConfig(unet="attention", channels=(8, 16, 32), blocks_per_level=2, attention_levels=(1, 2))),
    RunConfig(network=NetworkConfig(attention_levels=()), seed=2**40),
    RunConfig(diffusion=DiffusionConfig("flow", 100, True, "flow", "huber", "min_snr", 2.5)),
    RunConfig(data=DataConfig('a folder/with «signs» "quoted" \\ and\nlines', 28, "pad", True, "picture", "träin", 7)),
    RunConfig(optimizer=OptimizerConfig(3, 12, 4, 1e-30, "constant", 0, 0.0, (0.0, 0.999), 0.1, 1, 1.0, "fp16")),
    RunConfig(optimizer=OptimizerConfig(lr=0.1 + 0.2)),
    RunConfig(log=LogConfig(1, 2, 3, 4, 5), image_shape=(3, 64, 32), versions={"torch": "2.11", "«odd»": ""}),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_configuration_survives_json(config):
    text = config_to_json(config)
    assert config_from_json(text) == config
    assert config_to_json(config_from_json(text)) == text
    assert set(json.loads(text)) == {
        *("network", "diffusion", "data", "condition", "optimizer", "log", "init", "seed", "image_shape", "versions"),
        *("model", "autoencoder", "latent", "training_images", "training_digest", "changes", "import_notes", "format"),
        "distillation",
    }


@pytest.mark.parametrize(
    "change", [{}, {"seed": "a text, there"}, {"network": {"unet": "of 2030", "flavour": "strange"}}, {"new": 1}]
)
def test_a_configuration_from_the_future_says_to_update(change):
    """Whatever else is in it."""
    text = json.dumps(json.loads(config_to_json(RunConfig())) | change | {"format": FORMAT + 2})
    sentence = (
        rf"^some/config\.json: written by a newer Noisescope \(format {FORMAT + 2}; this one reads up to {FORMAT}\): update"
    )
    with pytest.raises(ValueError, match=sentence):
        config_from_json(text, "some/config.json")


def test_a_configuration_without_a_format_is_of_the_first():
    assert config_from_json("{}").format == 1


def test_a_missing_key_takes_its_default():
    assert config_from_json('{"optimizer": {"steps": 7}}') == RunConfig(optimizer=OptimizerConfig(steps=7))


def test_configurations_are_frozen_and_can_be_keys():
    config = RunConfig()
    with pytest.raises(AttributeError):
        config.seed = 1
    assert replace(config, seed=1) != config
    assert hash(config.optimizer) == hash(OptimizerConfig())


def _changed(path: tuple[str, ...], value: object) -> str:
    document = json.loads(config_to_json(RunConfig()))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(document)


WRONG = {
    "unknown key at the top": (("colour",), 1),
    "unknown key in the network": (("network", "width"), 1),
    "unknown key in the diffusion": (("diffusion", "betas"), 1),
    "unknown key in the data": (("data", "path"), "x"),
    "unknown key in the optimizer": (("optimizer", "momentum"), 0.9),
    "unknown key in the log": (("log", "every"), 5),
    "text for a number": (("optimizer", "steps"), "many"),
    "fraction for a whole number": (("optimizer", "steps"), 10.5),
    "list for a number": (("optimizer", "lr"), [1e-3]),
    "null for a number": (("log", "save_every"), None),
    "number for a text": (("network", "unet"), 3),
    "number for a list": (("network", "channels"), 64),
    "text in a list": (("network", "channels"), [64, "wide"]),
    "list for a section": (("network",), []),
    "null for a section": (("data",), None),
    "a value that is not offered": (("optimizer", "precision"), "fp8"),
    "another value that is not offered": (("data", "fit"), "stretch"),
    "three betas": (("optimizer", "betas"), [0.9, 0.9, 0.9]),
    "image_shape of two numbers": (("image_shape",), [1, 8]),
    "versions as a list": (("versions",), ["2.11"]),
    "format as a text": (("format",), "newest"),
}


@pytest.mark.parametrize(("path", "value"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_key_or_type_is_named(path, value):
    with pytest.raises(ValueError, match=r"^some/config\.json: ") as refusal:
        config_from_json(_changed(path, value), "some/config.json")
    sentence = str(refusal.value)
    assert ".".join(path) in sentence
    assert "\n" not in sentence
    assert len(sentence) < 300
    assert re.search(r": give |: remove it|: add it|: choose ", sentence), sentence
    with pytest.raises(ValidationError) as found:
        TypeAdapter(RunConfig).validate_python(json.loads(_changed(path, value)))
    assert found.value.errors()[0]["msg"].lower() not in sentence.lower(), "no library's own words"


IMPOSSIBLE = [
    ("network", "unet", "basline"),
    ("network", "channels", [64, 0]),
    ("network", "channels", []),
    ("network", "blocks_per_level", 10_000_000),
    ("network", "attention_levels", [3]),
    ("network", "dropout", 1.0),
    ("diffusion", "schedule", "lineal"),
    ("diffusion", "timesteps", 100_000_000),
    ("diffusion", "noise_shift", 0.0),
    ("diffusion", "prediction", "epsilon"),  # beside the flow schedule, which ends in pure noise
    ("optimizer", "steps", 0),
    ("optimizer", "steps", -5),
    ("optimizer", "batch_size", 0),
    ("optimizer", "accumulation", 3),
    ("optimizer", "lr", 0),
    ("optimizer", "lr", -1),
    ("optimizer", "max_grad_norm", 0),
    ("optimizer", "ema_half_life", 0),
    ("optimizer", "ema_ramp_up", 0),
    ("optimizer", "warmup_steps", -1),
    ("log", "log_every", 0),
    ("log", "eval_every", 0),
    ("log", "sample_every", -1),
    ("log", "save_every", 0),
    ("log", "sample_images", 0),
    ("data", "image_size", 1),
    ("data", "image_size", 60_000),
    ("data", "held_out_images", 0),
    ("network", "patch_size", 0),
    ("network", "patch_size", 17),
    (None, "seed", -1),
    (None, "format", 0),
]


@pytest.mark.parametrize(("section", "key", "value"), IMPOSSIBLE)
def test_an_impossible_value_is_named(section, key, value):
    path = (key,) if section is None else (section, key)
    with pytest.raises(ValueError, match=r"^some/config\.json: ") as refusal:
        config_from_json(_changed(path, value), "some/config.json")
    sentence = str(refusal.value)
    assert key in sentence
    shown = str(tuple(value)) if isinstance(value, list) else str(value)
    assert shown in sentence
    assert "\n" not in sentence


SECTIONS = [type(part) for part in vars(RunConfig()).values() if is_dataclass(part)]


def is_number(hint):
    """Whether an annotation is of a number, or of several."""
    return hint in (int, float) or any(map(is_number, get_args(hint)))


@pytest.mark.parametrize("kind", [RunConfig, *SECTIONS, SamplingRequest])
def test_every_number_has_a_range(kind):
    """Infinity and NaN lie in none."""
    numbers = {name for name, hint in get_type_hints(kind).items() if is_number(hint)} - {"format", "eta"}
    assert numbers
    for name in numbers:
        rule = rules(kind).get(name)
        assert isinstance(rule, Between), name
        assert not rule.takes(math.inf), name
        assert not rule.takes(math.nan), name


def test_a_number_is_as_it_is_written():
    """Whole where whole numbers are asked for, and no word; the ends are in the range unless they are said not to be."""
    whole, share, positive = Between(1, 8), Between(0.0, 1.0, below=True), Between(0.0, above=True)
    assert [value for value in (0, 1, 1.0, 8, 9, "2", None, 10**400) if whole.takes(value)] == [1, 8]
    assert [value for value in (-0.1, 0, 0.0, 0.99, 1.0, 1) if share.takes(value)] == [0, 0.0, 0.99]
    assert [value for value in (0, 1e-300, 1e300, 10**400) if positive.takes(value)] == [1e-300, 1e300, 10**400]
    assert [str(rule) for rule in (whole, share, positive)] == [
        "a whole number from 1 to 8",
        "a number from 0 to less than 1",
        "a finite number above 0",
    ]


def test_attention_is_for_networks_that_have_it():
    with pytest.raises(ValueError, match=r"attention_levels=\(1,\) is for networks with attention"):
        NetworkConfig("baseline", attention_levels=(1,))
    assert NetworkConfig("attention", attention_levels=(1,)).options(3)["attention_levels"] == (1,)
    assert "attention_levels" not in NetworkConfig("baseline", attention_levels=()).options(3)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "42", '"text"', "{]", '{"seed": 1,}', "\x00", "network: baseline"])
def test_invalid_json_is_said_in_one_sentence(text):
    with pytest.raises(ValueError, match=r"^some/config\.json(: the file: | is not valid JSON: | is empty$)") as refusal:
        config_from_json(text, "some/config.json")
    assert "\n" not in str(refusal.value)
