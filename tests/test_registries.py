"""What is added to a registry from outside is found wherever there is something to choose, and nowhere has to be told of it."""

from __future__ import annotations

import runpy
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from diffusion_core import choices
from diffusion_core.samplers import ddim
from diffusion_core.schedules import cosine
from pipelines.sample import Sample
from pipelines.sampling.request import SamplingRequest
from pipelines.storage.config import DiffusionConfig, NetworkConfig
from pipelines.storage.presets import PRESETS
from pipelines.train import Train
from unets import NETWORKS, build_network
from unets.baseline import BaselineUNet

ROOT = Path(__file__).resolve().parent.parent


class Wider(BaselineUNet):
    """Somebody's own network."""


@pytest.fixture
def additions(monkeypatch):
    """A sampler with an option, a schedule and a network of somebody's own."""
    steps = choices.SamplerChoice(
        "Our sampler", "Steps as we like them.", ddim, order=1, options={"eta": choices.Option(0.0, 0.0, 0.5, "our noise")}
    )
    monkeypatch.setitem(choices.SAMPLERS, "ours", steps)
    monkeypatch.setitem(choices.SCHEDULES, "our-cosine", choices.ScheduleChoice("Our cosine", "Fades as we like it.", cosine))
    monkeypatch.setitem(NETWORKS, "wider", type(NETWORKS["class"])("Wider U-Net", "As wide as we like it.", Wider))


def test_every_choice_can_be_loaded_and_says_what_it_is():
    """Its target exists, which --help and the forms do not look at."""
    of_training = (choices.SCHEDULES, choices.PREDICTIONS, choices.NORMS, choices.WEIGHTINGS, choices.DENSITIES)
    for registry in (*of_training, choices.SAMPLERS, choices.SPACINGS, choices.DISTILLATIONS, NETWORKS, PRESETS):
        for name, choice in registry.items():
            assert choice.title, name
            assert choice.about.endswith("."), name
            if hasattr(choice, "load"):
                assert callable(choice.load()), name


def test_options_of_samplers_are_fields_of_a_request():
    """With the same default, so that a request says nothing where a sampler has no such option."""
    usual = {field.name: field.default for field in fields(SamplingRequest)}
    for sampler in choices.SAMPLERS.values():
        for name, option in sampler.options.items():
            assert usual[name] == option.default
            assert option.low <= option.default <= option.high


@pytest.mark.parametrize(
    ("program", "arguments", "said"),
    [
        ("pipelines.train", Train, ["our-cosine", "Fades as we like it.", "wider", "As wide as we like it."]),
        ("pipelines.sample", Sample, ["ours", "Steps as we like them."]),
    ],
)
def test_the_command_line_lists_additions(additions, monkeypatch, capsys, program, arguments, said):
    from pipelines.common.command_line import run_command

    monkeypatch.setattr(sys, "argv", [program, "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        run_command(arguments, lambda _: 0, program)
    shown = capsys.readouterr().out
    assert [words for words in said if words not in shown] == []


def test_settings_take_additions_while_they_are_there(additions, monkeypatch):
    assert NetworkConfig("wider").title == "Wider U-Net"
    assert DiffusionConfig("our-cosine").schedule == "our-cosine"
    assert SamplingRequest(sampler="ours", eta=0.5).options == {"eta": 0.5}
    with pytest.raises(ValueError, match=r"eta=0\.75: choose a number from 0 to 0\.5"):
        SamplingRequest(sampler="ours", eta=0.75)
    assert type(build_network("wider", image_channels=1, channels=(8, 16))) is Wider
    monkeypatch.undo()
    for make in (
        lambda: NetworkConfig("wider"),
        lambda: DiffusionConfig("our-cosine"),
        lambda: SamplingRequest(sampler="ours"),
    ):
        with pytest.raises(ValueError, match=r"unknown \w+ '.*': choose one of"):
            make()


def test_the_forms_offer_additions(additions, queue, monkeypatch):
    """On Train and Compare, with the sampler's own option; nothing is fetched for the preview."""
    monkeypatch.setattr("pipelines.training.jobs.TrainingQueue", lambda: queue)
    train = AppTest.from_file(str(ROOT / "pages" / "train.py"), default_timeout=120).run()
    assert not train.exception
    assert "Wider U-Net" in train.selectbox(key="unet").options
    assert "**Wider U-Net** (`wider`): As wide as we like it." in train.selectbox(key="unet").help
    assert "Our cosine" in train.selectbox(key="schedule").options
    compare = AppTest.from_file(str(ROOT / "pages" / "compare.py"), default_timeout=120)
    compare.query_params["sampler1"] = "ours"
    compare.run()
    assert not compare.exception
    assert compare.selectbox(key="sampler1").value == "ours"
    assert (compare.slider(key="eta1").label, compare.slider(key="eta1").max) == ("eta: our noise", 0.5)


def test_the_tests_of_the_mathematics_include_additions(additions, monkeypatch):
    """Their lists are made from the registries, and the additions pass."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "diffusion_core"))
    monkeypatch.delitem(sys.modules, "gaussian_data", raising=False)  # made anew, with the additions
    tests = runpy.run_path(str(ROOT / "tests" / "diffusion_core" / "test_samplers.py"))
    converges = tests["test_halving_the_step_divides_the_error_by_two_to_the_order"]
    assert "ours" in converges.pytestmark[0].args[1]
    assert "our-cosine" in tests["ALL_SCHEDULES"]
    converges("ours")
    networks = runpy.run_path(str(ROOT / "tests" / "unets" / "test_unets.py"))
    assert "wider" in networks["every_network"].args[1]
    networks["test_weights_depend_on_the_seed_alone"]("wider")
