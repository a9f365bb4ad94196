"""Students: from their training to their samples, evaluation and model card."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.evaluation.modes import class_shares
from pipelines.evaluation.results import Evaluation
from pipelines.models.loading import load_model
from pipelines.models.teachers import student_config
from pipelines.sampling.own_steps import as_learnt, own_steps
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.config import DistillationConfig, LogConfig, OptimizerConfig, config_from_json, config_to_json
from pipelines.storage.publishing import model_card, publish
from pipelines.storage.run import Run
from pipelines.storage.spacing import LearnedSpacing
from pipelines.training.reading import read_task

OPTIMIZER = OptimizerConfig(steps=4, batch_size=4, lr=1e-3, warmup_steps=0, precision="no")
LOG = LogConfig(log_every=1, eval_every=2, sample_every=4, save_every=2, sample_images=6)


@pytest.fixture(scope="module")
def make_student():
    """Return a function that makes the configuration of a student of a run."""

    def make(teacher, optimizer=OPTIMIZER, **asked):
        return student_config(teacher, DistillationConfig(**{"calls": (2,), "teacher_steps": 3} | asked), optimizer, LOG)

    return make


@pytest.fixture(scope="module")
def student(make_student, train, class_run, tmp_path_factory):
    """A student of a class-conditional run, in two steps, with guidance 3."""
    return train(tmp_path_factory.mktemp("students") / "student", make_student(class_run, guidance=3.0))


def test_a_student_starts_as_its_teacher(make_student, latent_run, class_run, tmp_path):
    """Also of latents. With one step of the teacher for each of its own, it has nothing to learn; without guidance, that is."""
    for teacher in (latent_run, class_run):
        task = read_task(Run(tmp_path / "none"), make_student(teacher, teacher_steps=1, guidance=None))
        model = load_model(teacher, dtype=torch.float32)
        weights, theirs = task.weights(task.network), {**model.denoiser.network.state_dict()}
        assert all(torch.equal(weights[name], theirs[name]) for name in theirs)
        assert (weights.keys() > theirs.keys()) == (teacher == latent_run)  # with its autoencoder
    for scale, nothing in ((1.0, True), (2.0, False)):
        task = read_task(Run(tmp_path / "none"), make_student(class_run, teacher_steps=1, guidance=scale))
        task.device = torch.device("cpu")
        with torch.no_grad():
            [batch] = task.batches(0, [slice(0, 4)])
            assert (task.loss(task.network.eval(), batch, 0).item() < 1e-6) == nothing


def test_training_resumes_exactly(make_student, student, class_run, train, make_trainer, logged, tmp_path):
    config = make_student(class_run, guidance=3.0)
    stopped = make_trainer(tmp_path / "run", config)
    stopped.fit(time_limit=0.0)
    assert 0 < stopped.step < OPTIMIZER.steps
    resumed = train(tmp_path / "run", Run(tmp_path / "run").config)
    assert logged(resumed.path) == logged(student.path)
    assert resumed.fingerprint == student.fingerprint


def test_a_student_is_a_run(student, class_run):
    own, theirs = student.config, class_run.config
    assert config_from_json(config_to_json(own)) == own
    assert own.distillation.teacher_fingerprint == class_run.fingerprint
    assert own.distillation.timesteps == (own.diffusion.timesteps - 1, own.diffusion.timesteps / 2 - 1)
    assert (own.network, own.diffusion, own.condition, own.data) == (
        theirs.network, theirs.diffusion, theirs.condition, theirs.data,
    )  # fmt: skip
    assert student.metrics()["val_loss"].notna().sum() == 2
    assert student.samples()
    assert load_model(student).config.distillation == own.distillation


def test_it_samples_in_its_own_steps_by_default_and_in_no_others(student):
    model = load_model(student)
    *_, last = sample(model)
    assert (last.index, last.nfe) == (2, 2)
    labelled = as_learnt(SamplingRequest(2, label="all"), model.config)
    steps = [*sample(model, labelled)]
    assert steps[-1].nfe == 2  # guidance takes no calls
    assert [step.timestep for step in steps[:-1]] == list(model.config.distillation.timesteps)
    assert torch.equal(steps[-1].x, [*sample(model, replace(labelled, guidance=1.0))][-1].x)
    for wrong in (
        {"sampler": "dpmpp_2m"}, {"steps": 3}, {"spacing": "karras"}, {"eta": 0.5}, {"guidance": 2.0},
        {"guidance_interval": (0.0, 0.5)}, {"negative_prompt": "x"},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"student|negative prompt was given"):
            sample(model, replace(labelled, **wrong))


def test_the_commands_sample_measure_and_publish_it(command, student, judge, tmp_path):
    done = command("pipelines.sample", student.path, "--num-images", 2, "--label", "all", "--out", tmp_path / "samples")
    assert done.code == 0, done.error
    told = command("pipelines.sample", student.path, "--steps", 5, "--out", tmp_path / "others").refused_in_one_sentence()
    assert "2 steps of ddim at trailing spacing" in told
    copy = Run(shutil.copytree(student.path, tmp_path / "copy"))
    done = command("pipelines.evaluate", copy.path, "--features", judge, "--num-images", 10)
    assert done.code == 0, done.error
    results = json.loads((copy.path / "evaluation.json").read_text())["results"]
    assert {result["kind"] for result in results} == {"floor", "samples"}
    [request] = [result["asked"]["request"] for result in results if result["kind"] == "samples"]
    assert {name: request[name] for name in own_steps(student.config)} == own_steps(student.config)
    assert request["guidance"] == 3.0
    card = (publish(student, tmp_path / "published").path / "README.md").read_text()
    for part in (
        "pipelines.distill",
        "--calls 2",
        "--guidance 3",
        "guidance 3 distilled in",
        "followed by its teacher's, from the same noise",
    ):
        assert part in card
    assert "validation loss" in model_card(student, "student", 1)


def test_it_takes_the_timesteps_that_its_teacher_has_learned(make_student, class_run, train, tmp_path):
    teacher = Run(shutil.copytree(class_run.path, tmp_path / "teacher"))
    last = float(teacher.config.diffusion.timesteps - 1)
    learned = LearnedSpacing(teacher.fingerprint, "ddim", 1.0, 1, 0, ((last,), (last, 0.3 * last)))
    learned.write(teacher)
    config = make_student(teacher, replace(OPTIMIZER, steps=1))
    assert (config.distillation.spacing, config.distillation.timesteps) == ("learned", learned.timesteps[1])
    own = train(tmp_path / "student", config)
    model = load_model(own)
    steps = [*sample(model, as_learnt(SamplingRequest(2), model.config))]
    assert tuple(step.timestep for step in steps[:-1]) == learned.timesteps[1]
    assert make_student(teacher, calls=(3,)).distillation.spacing == "trailing"  # not learnt for so many
    assert make_student(teacher, spacing="trailing").distillation.timesteps != learned.timesteps[1]
    replace(learned, fingerprint="0" * 16).write(teacher)
    with pytest.raises(ValueError, match="learnt from other weights"):
        make_student(teacher)


def test_a_student_is_measured_beside_its_teacher(command, student, class_run, judge, tmp_path):
    """The classes of samples are needed of both. An older version did not record them, and nobody else needs them."""
    copies = {
        name: Run(shutil.copytree(run.path, tmp_path / name)) for name, run in (("pupil", student), ("master", class_run))
    }
    for run in copies.values():
        Evaluation(run).path.unlink(missing_ok=True)  # by another test
    quick = ("--features", judge, "--num-images", 10, "--guidance", 3, "--likelihood-images", 0, "--held-out-images", 10)

    def evaluate(*names):
        done = command("pipelines.evaluate", *(copies[name].path for name in names), *quick)
        assert done.code == 0, done.error
        return done.output

    evaluate("master")
    file = copies["master"].path / "evaluation.json"
    stored = json.loads(file.read_text())
    [samples] = [result for result in stored["results"] if result["kind"] == "samples"]
    classes = samples["found"].pop("classes")
    assert (classes["names"], len(classes["seen"])) == (["circles", "squares"], 10)
    file.write_text(json.dumps(stored))
    assert "guidance 3: already measured" in evaluate("master")
    told = evaluate("master", "pupil")
    assert told.count("guidance 3: already measured") == 0
    assert "pupil is a student and samples in its own 2 steps." in told
    assert "guidance 3: already measured" in evaluate("master", "pupil")
    measured = [Evaluation(run).of_kind("samples")[-1].found for run in copies.values()]
    assert class_shares(*measured) is not None
    assert measured[1]["classes"] == classes, "from the same noise"


def test_a_student_of_a_model_of_texts_learns_its_captions(make_student, text_run, train, tmp_path):
    run = train(tmp_path / "run", make_student(text_run, replace(OPTIMIZER, steps=1)))
    assert run.config.distillation.guidance == 2.0
    model = load_model(run)
    request = as_learnt(SamplingRequest(1, prompt=(model.config.condition.examples[0],)), model.config)
    assert request.guidance == 2.0
    assert np.isfinite([*sample(model, request)][-1].x).all()


def test_what_cannot_be_distilled_is_told_in_a_sentence(command, student, class_run, tiny_run, autoencoder_run, tmp_path):
    damaged = Run(shutil.copytree(tiny_run.path, tmp_path / "damaged"))
    damaged.model_path.unlink()
    asked = {
        "itself a student": [student.path],
        "is an autoencoder": [autoencoder_run.path],
        "no weights yet": [damaged.path],
        "no run at": [tmp_path / "nothing"],
        "choose fewer": [class_run.path, "--calls", 1000],
        "takes no classes or prompts": [tiny_run.path, "--guidance", 2],
        "does not start from pure noise": [tiny_run.path, "--spacing", "leading"],
        "already exists": [class_run.path, "--out", student.path],
    }
    for sentence, arguments in asked.items():
        out = [] if "--out" in arguments else ["--out", tmp_path / "out"]
        assert sentence in command("pipelines.distill", *arguments, *out).refused_in_one_sentence()
    assert not (tmp_path / "out").exists()
    assert "whose timesteps are fixed" in command("pipelines.spacing", student.path).refused_in_one_sentence()
    assert (
        "which does not denoise"
        in command(
            "pipelines.train", "--data", tiny_run.config.data.data, "--init-from", student.path, "--out", tmp_path / "out"
        ).refused_in_one_sentence()
    )


def test_captions_of_other_images_than_the_teachers_are_refused(make_student, text_run, tmp_path):
    config = make_student(text_run)
    other = replace(config, data=replace(config.data, image_size=12), image_shape=None, training_digest="")
    with pytest.raises(ValueError, match=r"are 3×12×12, and text makes images of 3×8×8 \(C×H×W\): a student learns"):
        read_task(Run(tmp_path / "none"), other)


def test_a_teacher_that_has_changed_is_not_learnt_from(command, make_student, copied_run, class_run, train, tmp_path):
    run = train(tmp_path / "run", make_student(copied_run, replace(OPTIMIZER, steps=1)))
    shutil.copy(class_run.model_path, copied_run.model_path)
    assert "have changed" in command("pipelines.train", "--resume", run.path, "--steps", 2).refused_in_one_sentence()


def test_requests_of_other_models_stay_as_they_are(tiny_run):
    request = SamplingRequest(sampler="heun", steps=7, spacing="karras")
    assert as_learnt(request, tiny_run.config) == request
