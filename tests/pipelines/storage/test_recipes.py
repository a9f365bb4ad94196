"""Recipes: each trains, and what is given beside one replaces its own settings."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pipelines.datasets.sources import PRESETS, resolve
from pipelines.models.finetune import adopt
from pipelines.models.teachers import student_config
from pipelines.storage.config import InitConfig, LatentConfig, RunConfig
from pipelines.storage.publishing import training_command
from pipelines.storage.recipes import RECIPES, RecipeCost, cost_of, read_recipe, recipe_costs
from pipelines.storage.run import Run
from pipelines.storage.runs import LESSONS, PUBLISHED, find_run, find_runs

BRIEF = ("--steps", 1, "--batch-size", 2, "--held-out-images", 2, "--sample-images", 1)


def completed(name):
    """The configuration that a recipe trains; what it starts from may be a run that another recipe makes, and not shipped."""
    recipe = read_recipe(name)
    source = recipe.init.init_from
    if source is None or (PUBLISHED / source).exists():
        return adopt(recipe)
    first = read_recipe(source)
    return replace(recipe, network=first.network, diffusion=first.diffusion)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains(make_trainer, image_folder, autoencoder_run, tmp_path, name):
    recipe = read_recipe(name)
    config = replace(
        recipe,
        data=replace(recipe.data, data=str(image_folder), only_classes=()),
        condition=replace(recipe.condition, synonyms=False),  # none are listed for the classes of these images
        optimizer=replace(recipe.optimizer, batch_size=2),
    )
    if (source := recipe.init.init_from) is not None and not (PUBLISHED / source).exists():
        config = replace(config, network=completed(name).network, init=InitConfig())
    if recipe.latent.latent is not None:
        config = replace(config, latent=LatentConfig(str(autoencoder_run.path)))
    trainer = make_trainer(tmp_path / name, config)
    side = resolve(config.data).image_size
    assert trainer.config.image_shape == (3, side, side)
    assert trainer.config.network == adopt(config).network
    trainer.train_step()
    assert all(bool(parameter.isfinite().all()) for parameter in trainer.network.parameters())


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_only_what_differs(name):
    """What a recipe repeats would stay behind when a default gets better."""
    config, usual = read_recipe(name), RunConfig()
    said = json.loads(RECIPES[name].read_text())
    assert said.pop("model", "autoencoder") == "autoencoder"
    for part, settings in said.items():
        for key in settings:
            if (part, key) not in {("network", "unet"), ("data", "data")}:
                assert getattr(getattr(config, part), key) != getattr(getattr(usual, part), key), f"{part}.{key}"


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_named_after_what_it_makes(name):
    config = completed(name)
    assert config.data.data in PRESETS
    assert config.latent.latent in (None, *RECIPES)
    kind = "autoencoder" if config.model == "autoencoder" else config.network.unet
    assert f"-{kind}" in name or name.startswith("lesson-")  # named after what the lesson shows
    assert ("-latent-" in name) == (config.latent.latent is not None)
    assert name.endswith("-64") == (config.data.image_size == 64)


def test_every_recipe_carries_what_it_takes_on_two_cores():
    """A recipe whose steps or batches were changed was not measured."""
    assert set(recipe_costs()) == set(RECIPES)
    for name in RECIPES:
        cost = cost_of(name, read_recipe(name))
        assert cost is not None, f"python -m benchmarks.recipe_costs --recipes {name}"
        assert cost.cpu > 0


def test_a_cost_tells_what_was_measured_and_of_a_run_of_other_length_nothing():
    assert RecipeCost("mine", 10, cpu=182.0).about == "about 3 h on two CPU cores"
    assert RecipeCost("mine", 10, cpu=44.0, gpu=0.4).about == "about 45 min on two CPU cores, about 20 s on a GPU"
    config = read_recipe("fashion-attention")
    optimizer = replace(config.optimizer, steps=config.optimizer.steps // 2)
    assert cost_of("fashion-attention", replace(config, optimizer=optimizer)) is None


SHIPPED = find_runs(PUBLISHED, PUBLISHED / LESSONS)
STUDENTS = [run for run in SHIPPED if run.config.distillation is not None]


@pytest.mark.parametrize("shipped", [run for run in SHIPPED if run not in STUDENTS], ids=lambda run: run.name)
def test_a_model_that_comes_with_it_is_what_its_recipe_trains(shipped):
    recipe = completed(shipped.name)
    log = replace(recipe.log, compared_samples=shipped.config.log.compared_samples)  # chosen by the time that it takes
    recipe = replace(recipe, data=resolve(recipe.data), log=log)
    command = training_command(shipped.config, shipped.name)
    assert command == training_command(recipe, shipped.name)
    assert command in (shipped.path / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("student", STUDENTS, ids=lambda run: run.name)
def test_a_student_that_comes_with_it_is_what_its_command_makes_of_its_teacher(student):
    own = student.config
    teacher = find_run(PUBLISHED / own.distillation.teacher)
    given = replace(own.distillation, teacher="", teacher_fingerprint="", timesteps=())
    made = student_config(teacher, given, own.optimizer, own.log)
    found = replace(made.data, held_out=own.data.held_out)  # which images are held out is recorded when they are read
    assert replace(made, data=found, versions=own.versions) == own
    command = training_command(own, student.name)
    assert command.startswith(f"python -m pipelines.distill {teacher.name} ")
    assert command in (student.path / "README.md").read_text(encoding="utf-8")


def test_what_is_given_replaces_the_recipe_and_its_name_is_the_runs(command, image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.train.PRIVATE", tmp_path)
    given = ("--data", image_folder, *BRIEF, "--channels", 8, 16, 16, "--lr", 0.5)
    for name in ("flowers-attention", "flowers-attention-2"):
        assert command("pipelines.train", "--recipe", "flowers-attention", *given).code == 0
        config = Run(tmp_path / name).config
        assert (config.network.channels, config.optimizer.lr) == ((8, 16, 16), 0.5)
        recipe = read_recipe("flowers-attention")
        assert config.network == replace(recipe.network, channels=(8, 16, 16))
        assert config.data.image_size == recipe.data.image_size


def test_training_tells_what_the_recipe_takes(command, image_folder, tmp_path, monkeypatch):
    cost = RecipeCost("flowers-attention", 2, cpu=30.0)
    monkeypatch.setattr("pipelines.storage.recipes.recipe_costs", lambda: {cost.recipe: cost})
    given = ("--recipe", "flowers-attention", "--data", image_folder, *BRIEF, "--channels", 8, 16, 16)
    assert f"flowers-attention: {cost.about}\n" in command("pipelines.train", *given, "--out", tmp_path / "whole").output
    longer = command("pipelines.train", *given, "--steps", 2, "--out", tmp_path / "longer")
    assert longer.code == 0
    assert cost.about not in longer.output


def test_an_unknown_recipe_is_refused_with_those_there_are(command):
    said = command("pipelines.train", "--recipe", "roses").refused_in_one_sentence()
    assert "unknown recipe 'roses'" in said
    assert "flowers-attention" in said


def test_a_resumed_run_takes_no_recipe(command, tiny_run):
    said = command("pipelines.train", "--resume", tiny_run, "--recipe", "flowers-class").refused_in_one_sentence()
    assert "takes all settings from the run itself" in said


@pytest.mark.parametrize("content", [b"\xff\xfe\xff", b"[]", b"{", b'{"network": {"channels": "wide"}}', b'{"seed": 1e400}'])
def test_a_damaged_recipe_is_refused_in_a_sentence(tmp_path, monkeypatch, content):
    (tmp_path / "mine.json").write_bytes(content)
    monkeypatch.setitem(RECIPES, "mine", tmp_path / "mine.json")
    with pytest.raises(ValueError, match="recipe mine"):
        read_recipe("mine")
