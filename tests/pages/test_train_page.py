"""The logic of the Train page, without a browser; what it starts are real trainings of a few steps."""

import shutil
from dataclasses import replace

import pytest
from opening import labels, press

from pages.components.setting import Setting
from pages.components.training import describe_progress
from pages.components.training_start import PIXELS, RANDOM_WEIGHTS
from pages.components.training_table import SETTINGS
from pipelines.common.devices import best_device
from pipelines.common.glossary import entry, glossary, term
from pipelines.common.reports import Progress
from pipelines.models.footprint import training_footprint
from pipelines.storage.config import DataConfig, RunConfig
from pipelines.storage.files import write_text
from pipelines.storage.layout import METRICS, PROCESS, STATE
from pipelines.storage.processes import write_record
from pipelines.storage.recipes import read_recipe, recipe_costs
from pipelines.storage.run import Run
from pipelines.storage.runs import PUBLISHED
from pipelines.training.jobs import WORKER, Job, Request
from pipelines.training.status import TrainingProgress

TINY = {"size": 8, "batch": 8, "channels": "8, 16", "warmup": 2, "precision": "no"}


def test_the_first_visit_says_what_to_do(open_train):
    app = open_train()
    assert "start above" in app.info[0].value
    assert app.text_input(key="name").placeholder == "oxford_flowers-baseline"
    shown = "16 images of the training split, 64×64 pixels, cropped, every second one flipped"
    assert any(shown in text.value for text in app.caption)
    assert not app.error


def test_a_local_folder_is_named_after_itself(open_train, image_folder):
    app = open_train(data=image_folder)
    assert app.text_input(key="name").placeholder == "shapes-baseline"


def test_every_choice_of_a_list_exists(open_train):
    from diffusion_core.choices import DENSITIES, PREDICTIONS, SCHEDULES, WEIGHTINGS
    from unets import NETWORKS

    app = open_train()
    registries = {"prediction": PREDICTIONS, "schedule": SCHEDULES, "density": DENSITIES, "weighting": WEIGHTINGS}
    for key, registry in registries.items():
        assert app.selectbox(key=key).options == [choice.title for choice in registry.values()]
    assert app.selectbox(key="unet").options == [*(choice.title for choice in NETWORKS.values()), "Autoencoder"]
    assert open_train(unet="attention").text_input(key="name").placeholder == "oxford_flowers-attention"


def test_the_preparation_follows_the_choice(open_train):
    app = open_train(size=16, fit="pad", flip="off")
    assert any("16×16 pixels, padded, not flipped" in text.value for text in app.caption)
    fashion = open_train(data="fashion_mnist")  # on the hub: nothing is fetched unasked
    assert fashion.number_input(key="size").placeholder == "32"
    assert "Download zalando-datasets/fashion_mnist from the Hugging Face Hub" in labels(fashion)
    assert not fashion.error


def test_the_form_says_what_training_takes_and_what_cannot_fit(open_train):
    about = [text.value for text in open_train().caption if "M parameters" in text.value]
    assert about == [training_footprint(RunConfig(data=DataConfig("oxford_flowers", 64)), best_device()).about]
    app = open_train(channels="4096, 4096, 4096, 4096, 4096", batch=65536)
    assert "choose a smaller batch_size" in app.warning[0].value
    assert not app.error


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"channels": "64, wide"}, "whole numbers with commas"),
        ({"lr": 0.0}, "lr=0.0: choose a finite number above 0"),
        ({"budget": "8"}, "'8' is not a duration"),
        ({"data": "no-such-thing"}, "unknown dataset 'no-such-thing'"),
        ({"data": " "}, "unknown dataset ''"),
    ],
)
def test_what_cannot_be_trained_gets_one_sentence(open_train, inputs, words):
    assert words in open_train(**inputs).error[0].value


def test_a_bad_name_or_a_taken_one_gets_one_sentence_and_starts_nothing(open_train, queue, small_config):
    for name, words in (("../../etc", "cannot be a run's name"), ("taken", "exists already")):
        Run(queue.root / "taken").write_config(small_config())
        app = press(open_train(name=name), "Start training")
        assert words in app.error[0].value
    assert [job.status for job in queue.jobs()] == ["stopped"]


@pytest.mark.usefixtures("work")  # of which nothing is wanted: with real processes it is done in tests/browser/test_train.py
def test_start_stop_resume_and_delete(open_train, queue):
    app = open_train(
        **TINY,
        train_steps=1_000_000,
        unet="attention",
        train_seed=3,
        lr=0.002,
        limit=30,
        density="logit_normal",
        density_mean=0.5,
        weighting="learned",
        ema_also="2000, 50000",
        budget="",
        schedule="linear",
        prediction="epsilon",
    )
    press(app, "Start training")
    run = Run(queue.root / "oxford_flowers-attention")
    config = run.config
    assert config.data.data == "oxford_flowers"
    assert (config.data.image_size, config.data.fit) == (8, None)
    assert (config.network.unet, config.network.channels) == ("attention", (8, 16))
    assert (config.seed, config.diffusion.schedule, config.diffusion.prediction) == (3, "linear", "epsilon")
    assert (config.optimizer.steps, config.optimizer.batch_size, config.optimizer.lr) == (1_000_000, 8, 0.002)
    diffusion = config.diffusion
    assert (diffusion.timestep_density, diffusion.density_mean, diffusion.density_std) == ("logit_normal", 0.5, None)
    assert (diffusion.weighting, config.optimizer.ema_also, config.optimizer.time_budget) == ("learned", (2000, 50000), None)
    assert (config.optimizer.warmup_steps, config.optimizer.precision) == (2, "no")
    assert app.selectbox(key="run").value == "oxford_flowers-attention"
    assert app.text_input(key="name").placeholder == "oxford_flowers-attention-2"
    assert "Resume" not in labels(app)
    assert "Cancel" in labels(app)  # while it is queued
    write_record(run.path / PROCESS)  # as if this process trained it
    app.run()
    assert "Stop" in labels(app)
    assert not {"Cancel", "Resume", "Delete permanently"} & labels(app)
    (run.path / PROCESS).unlink()
    app.run()
    press(app, "Cancel")
    assert queue.jobs()[0].status == "stopped"
    assert {"Resume", "Delete permanently"} <= labels(app)
    press(app, "Resume")
    assert queue.jobs()[0].active
    queue.stop("oxford_flowers-attention")
    app.run()
    press(app, "Delete permanently")
    assert "start above" in app.info[0].value
    assert not run.path.exists()


def test_an_autoencoder_is_trained_and_then_a_model_of_its_latents(open_train, autoencoder_run, tmp_path, monkeypatch, work):
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", tmp_path / "others")
    shutil.copytree(autoencoder_run.path, tmp_path / "others" / "small-and-back")
    size = {"size": 16, "patch": 2}
    app = open_train(**(TINY | size), train_steps=1, recipe="flowers-autoencoder")
    assert app.selectbox(key="unet").value == "autoencoder"
    assert app.selectbox(key="latent").disabled
    assert app.number_input(key="patch").disabled
    press(app, "Start training")
    press(open_train(**(TINY | size), train_steps=1, unet="class", latent="small-and-back"), "Start training")
    autoencoder, latent = work()
    assert autoencoder.has_weights
    assert autoencoder.config.model == "autoencoder"
    sampled = read_recipe("flowers-autoencoder").log.sample_images
    assert autoencoder.config.log.sample_images == sampled == 16  # the recipe's own, which the page does not show
    config = latent.config
    assert (config.latent.latent, config.state_shape, config.network.patch_size) == ("small-and-back", (2, 8, 8), 2)


def test_a_run_goes_on_from_another_s_weights(open_train, class_run, tmp_path, monkeypatch, work):
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", tmp_path / "others")
    source = Run(shutil.copytree(class_run.path, tmp_path / "others" / "shapes"))
    app = open_train(train_steps=3, batch=8, warmup=1, precision="no", dropout=0.1)
    app.selectbox(key="init_from").select("shapes").run()
    assert not app.exception
    theirs = source.config
    taken = {key: app.selectbox(key=key) for key in ("unet", "prediction", "schedule")}
    taken["channels"] = app.text_input(key="channels")
    assert all(widget.disabled for widget in taken.values())
    assert taken["unet"].value == "class"
    assert taken["channels"].value == ", ".join(map(str, theirs.network.channels))
    assert app.number_input(key="size").value == theirs.image_shape[1]
    assert (app.number_input(key="train_steps").value, app.selectbox(key="data").value) == (3, "oxford_flowers")
    assert app.text_input(key="name").placeholder == "oxford_flowers-from-shapes"
    app.number_input(key="rank").set_value(2).run()
    press(app, "Start training")
    [run] = work()
    assert run.has_weights
    assert run.name == "oxford_flowers-from-shapes"
    assert (run.config.init.init_from, run.config.init.init_fingerprint) == ("shapes", source.fingerprint)
    assert run.config.init.lora_rank == 2
    assert run.config.network == replace(theirs.network, dropout=0.1)
    app.selectbox(key="init_from").select(RANDOM_WEIGHTS).run()
    assert (app.selectbox(key="unet").value, app.selectbox(key="unet").disabled) == ("baseline", False)
    assert app.number_input(key="size").value is None
    assert app.number_input(key="train_steps").value == 3


def test_a_link_to_a_run_to_start_from_takes_over_what_it_says(open_train, class_run, monkeypatch):
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", class_run.path.parent)
    app = open_train(init_from=class_run.name)
    assert app.selectbox(key="unet").value == "class"
    assert app.number_input(key="size").value == class_run.config.image_shape[1]
    assert class_run.name in app.text_input(key="name").placeholder


def test_only_models_of_ours_are_offered_to_start_from(open_train, autoencoder_run, tmp_path, monkeypatch):
    shutil.copytree(autoencoder_run.path, tmp_path / "others" / "small-and-back")
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", tmp_path / "others")
    options = open_train().selectbox(key="init_from").options
    assert "flowers-attention-64" in options
    assert "small-and-back" not in options


def test_a_run_to_start_from_is_called_as_a_configuration_calls_it(open_train, class_run, tmp_path, monkeypatch):
    """Its folder where another run goes by its name; the name that other pages show is none that a training would find."""
    theirs = shutil.copytree(class_run.path, tmp_path / "others" / "flowers-attention-64")
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", tmp_path / "others")
    app = open_train(init_from=str(theirs))
    assert {"flowers-attention-64", str(theirs)} <= set(app.selectbox(key="init_from").options)
    assert app.selectbox(key="unet").value == "class"


def test_a_recipe_that_goes_on_from_another_model_names_it(open_train):
    app = open_train()
    app.selectbox(key="recipe").select("pokemon-text").run()
    assert not app.exception
    assert app.selectbox(key="init_from").value == "flowers-text"
    assert (app.selectbox(key="unet").value, app.selectbox(key="unet").disabled) == ("text", True)
    assert (app.number_input(key="dropout").value, app.number_input(key="train_steps").value) == (0.1, 2500)
    assert app.text_input(key="name").placeholder.startswith("pokemon-text")
    linked = open_train(recipe="pokemon-text")
    assert linked.selectbox(key="init_from").value == "flowers-text"
    linked.selectbox(key="init_from").select(RANDOM_WEIGHTS).run()
    assert linked.selectbox(key="init_from").value == RANDOM_WEIGHTS
    app.selectbox(key="init_from").select(RANDOM_WEIGHTS).run()
    assert not app.exception
    assert app.selectbox(key="init_from").value == RANDOM_WEIGHTS
    assert not app.selectbox(key="unet").disabled
    app.selectbox(key="init_from").select("flowers-text").run()
    assert app.selectbox(key="unet").disabled
    app.selectbox(key="recipe").select("flowers-class").run()
    assert app.selectbox(key="init_from").value == RANDOM_WEIGHTS
    assert (app.selectbox(key="unet").value, app.selectbox(key="unet").disabled) == ("class", False)


def test_a_recipe_of_some_classes_names_them_and_other_images_have_others(open_train):
    app = open_train()
    app.selectbox(key="recipe").select("tiny-imagenet-class").run()
    assert app.text_input(key="only_classes").value == ", ".join(read_recipe("tiny-imagenet-class").data.only_classes)
    app.selectbox(key="data").select("oxford_flowers").run()
    assert not app.exception
    assert not app.error
    assert app.text_input(key="only_classes").value == ""


def test_only_some_classes_are_trained_on(open_train, work):
    app = open_train(train_steps=1, unet="class", only_classes="squares, rose", name="some", **TINY)
    assert "no class 'rose' in this dataset" in app.error[0].value
    app.text_input(key="only_classes").set_value("squares,").run()
    assert not app.error
    press(app, "Start training")
    [run] = work()
    assert run.config.condition.classes == ("squares",)


def test_a_list_of_names_means_the_names_it_was_made_from():
    classes = Setting("data.only_classes", "only_classes", "Classes")
    for names in ((), ("a", "A"), ("tench, Tinca tinca", "b"), ('"quoted"', 'of 5" or more', 'both, "', "’")):
        assert classes.meant(classes.shown(RunConfig(data=DataConfig(only_classes=names)))) == names
    assert classes.meant(" squares ,, a b, ") == ("squares", "a b")


def test_a_recipe_of_latents_names_its_autoencoder(open_train):
    app = open_train(recipe="flowers-latent-text")
    assert app.selectbox(key="latent").value == "flowers-autoencoder"
    app.selectbox(key="latent").select(PIXELS).run()
    assert app.selectbox(key="latent").value == PIXELS
    app = open_train(recipe="flowers-autoencoder")
    assert app.selectbox(key="unet").value == "autoencoder"


def test_images_become_as_large_as_those_that_a_chosen_autoencoder_knows(open_train):
    app = open_train(data="oxford_flowers")
    app.selectbox(key="latent").select("flowers-autoencoder").run()
    assert app.number_input(key="size").value == Run(PUBLISHED / "flowers-autoencoder").config.image_shape[1] == 128
    app.selectbox(key="latent").select(PIXELS).run()
    assert app.number_input(key="size").value is None  # the dataset's own


def test_every_state_is_shown_and_a_run_that_vanishes_is_said(open_train, queue, tiny_run, small_config):
    shutil.copytree(tiny_run.path, queue.root / "done")
    broken = Run(queue.root / "broken")
    broken.write_config(small_config())
    write_text(broken.path / "state" / "outcome.json", '{"status": "failed", "error": "the disk is full"}')
    write_text(queue.root / "unreadable" / "config.json", "{")
    killed = Run(queue.root / "killed")
    killed.write_config(small_config(steps=10_000))
    write_text(killed.path / "state" / "process.json", '{"pid": 1, "started": -1e9}')
    app = open_train()
    assert {"the disk is full"} < {error.value for error in app.error}
    assert any("config.json" in error.value for error in app.error)
    assert any("Resume continues from the last checkpoint" in warning.value for warning in app.warning)
    app.selectbox(key="run").select("done").run()
    assert not app.exception
    assert any("Samples at step 24" in text.value for text in app.caption)
    list(Run(queue.root / "done").samples().values())[-1].write_bytes(b"\x89PNG")
    app.run()
    assert not app.exception
    assert any("The samples of done at step 24 cannot be read" in warning.value for warning in app.warning)
    shutil.rmtree(queue.root / "done")  # another session deletes it
    app.run()
    assert not app.exception
    assert app.selectbox(key="run").value in ("broken", "killed", "unreadable")
    assert {job.run.name for job in queue.jobs()} == {"broken", "killed", "unreadable"}


def test_before_the_first_step_a_row_says_what_is_being_done():
    encoding = Progress("encoding training images", 0.25, 200.0)
    job = Job(Run("mine"), "starting", Request(), 0, TrainingProgress(10_000), encoding)
    assert describe_progress(job) == "Step 0 of 10,000 · encoding training images: 3 min left"


def test_a_press_that_comes_too_late_is_refused_in_one_sentence(open_train, queue, tiny_run):
    run = Run(shutil.copytree(tiny_run.path, queue.root / "mine"))
    (run.path / METRICS).write_text("")
    app = open_train()
    assert "Resume" in labels(app)
    shutil.copy(tiny_run.path / METRICS, run.path / METRICS)  # meanwhile somebody else finished it
    app = press(app, "Resume")
    assert "is finished: there is nothing to resume" in app.error[0].value
    shutil.rmtree(run.path)
    app = press(app, "Delete permanently")
    assert "no run called 'mine'" in app.error[0].value
    assert not (queue.root / WORKER).exists()
    assert (tiny_run.path / STATE).exists()


def test_many_runs_do_not_bury_the_one_that_is_watched(open_train, queue, small_config):
    for number in range(8):
        Run(queue.root / f"run-{number}").write_config(small_config())
    app = open_train()
    assert any(block.label == "3 more" for block in app.expander)
    assert len(app.selectbox(key="run").options) == 8


def test_a_recipe_fills_in_its_settings_and_its_name(open_train):
    app = open_train(data="fashion_mnist")
    app.selectbox(key="recipe").select("pokemon-text").run()
    assert not app.exception
    assert app.selectbox(key="data").value == "pokemon_captions"
    assert app.selectbox(key="unet").value == "text"
    assert app.number_input(key="augment").value == read_recipe("pokemon-text").data.augment
    assert app.number_input(key="size").value == 32
    assert app.text_input(key="name").placeholder == "pokemon-text"
    told = f":material/schedule: pokemon-text: {recipe_costs()['pokemon-text'].about}."
    assert told in [caption.value for caption in app.caption]
    app.number_input(key="train_steps").set_value(10).run()
    assert told not in [caption.value for caption in app.caption], "of other steps"
    app.selectbox(key="recipe").select(None).run()
    assert app.selectbox(key="unet").value == "baseline"
    assert app.number_input(key="size").value is None
    assert app.number_input(key="augment").value == 0


def test_a_link_to_a_recipe_fills_it_in_but_for_what_it_says_itself(open_train):
    app, recipe = open_train(recipe="flowers-text-64", batch=7), read_recipe("flowers-text-64")
    assert app.selectbox(key="unet").value == "text"
    assert app.text_input(key="channels").value == ", ".join(map(str, recipe.network.channels))
    assert app.number_input(key="train_steps").value == recipe.optimizer.steps
    assert app.number_input(key="batch").value == 7


@pytest.mark.parametrize(("changes", "levels"), [({"channels": "8, 16, 16"}, (1, 2)), ({"unet": "baseline"}, None)])
def test_levels_of_attention_come_from_the_recipe_if_its_network_does(open_train, work, changes, levels):
    """The page does not show them."""
    assert read_recipe("flowers-attention").network.attention_levels == (1, 2)
    press(open_train(recipe="flowers-attention", train_steps=2, **TINY | changes), "Start training")
    [run] = work()
    assert run.has_weights
    assert (run.config.network.unet, run.config.network.attention_levels) == (changes.get("unet", "attention"), levels)


def test_what_the_glossary_explains_is_explained_by_it(open_train):
    """Each word of a label is explained once. Steps and seed are others in sampling, as is precision in evaluations."""
    titles = {title.lower() for title in glossary()} - {"steps", "seed", "precision"}
    for setting in SETTINGS:
        assert not setting.term or entry(setting.term)
        assert setting.term or setting.label.lower() not in titles
    app = open_train()
    assert app.number_input(key="lr").help.startswith(term("learning rate"))
    assert app.selectbox(key="prediction").help.startswith(term("prediction"))
