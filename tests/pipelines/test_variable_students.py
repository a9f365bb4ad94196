"""Students that serve several numbers of calls: one network, which is told the number."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from diffusion_core.distillation import distillation_loss
from diffusion_core.samplers import ddim
from pipelines.evaluation.results import Evaluation
from pipelines.models.loading import load_model
from pipelines.models.networks import make_denoiser, told_calls
from pipelines.models.teachers import student_config
from pipelines.sampling.own_steps import as_learnt, own_steps
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.config import DistillationConfig, LogConfig, OptimizerConfig, config_from_json, config_to_json
from pipelines.storage.log_columns import loss_in_calls
from pipelines.storage.publishing import publish
from pipelines.storage.run import Run
from pipelines.storage.runs import PUBLISHED
from pipelines.storage.spacing import LearnedSpacing
from pipelines.storage.student_defaults import training_calls
from pipelines.training.reading import read_task

CALLS = (2, 3, 5)
OPTIMIZER = OptimizerConfig(steps=6, batch_size=4, lr=1e-3, warmup_steps=0, precision="no")
LOG = LogConfig(log_every=1, eval_every=3, sample_every=6, save_every=3, sample_images=6)


def config_of_student(teacher, optimizer=OPTIMIZER, log=LOG, **asked):
    return student_config(teacher, DistillationConfig(**{"calls": CALLS, "teacher_steps": 3} | asked), optimizer, log)


@pytest.fixture(scope="module")
def student(train, class_run, tmp_path_factory):
    """A student of a class-conditional run, in 2, 3 or 5 steps, with guidance 3."""
    return train(tmp_path_factory.mktemp("students") / "student", config_of_student(class_run, guidance=3.0))


@pytest.mark.parametrize("teacher", ["tiny_run", "class_run", "text_run", "latent_run"])
def test_it_starts_as_its_teacher_for_every_number_to_the_last_bit(request, teacher, tmp_path):
    """Its network is the teacher's in every precision and for every condition; so are its samples."""
    run = request.getfixturevalue(teacher)
    task = read_task(Run(tmp_path / "none"), config_of_student(run, guidance=None))
    for dtype in (torch.float32, torch.bfloat16):
        model, network = load_model(run, "cpu", dtype), task.network.eval().to(dtype, memory_format=torch.channels_last)
        student, x = make_denoiser(network, task.config), torch.randn(3, *model.state_shape)
        condition = None if task.data.conditions is None else task.data.conditions.of(torch.arange(3) % 2)
        for calls in CALLS:
            told = told_calls(task.config, calls, condition, len(x), x.device)
            times = task.beside.timesteps(calls)
            own = ddim(student, x, times, model.schedule, told)
            theirs = ddim(model.denoiser, x, times, model.schedule, condition)
            assert all(torch.equal(one.x, other.x) for one, other in zip(own, theirs, strict=True))


def test_training_resumes_exactly(student, class_run, train, make_trainer, logged, tmp_path):
    config = config_of_student(class_run, guidance=3.0)
    stopped = make_trainer(tmp_path / "run", config)
    stopped.fit(time_limit=0.0)
    assert 0 < stopped.step < OPTIMIZER.steps
    resumed = train(tmp_path / "run", Run(tmp_path / "run").config)
    assert logged(resumed.path) == logged(student.path)
    assert resumed.fingerprint == student.fingerprint


def test_each_step_learns_one_of_the_numbers(class_run, tmp_path):
    task = read_task(Run(tmp_path / "none"), config_of_student(class_run))
    task.device = torch.device("cpu")
    drawn = []
    for step in range(60):
        parts = list(task.batches(step, [slice(0, 2), slice(2, 4)]))
        assert len({part.calls for part in parts}) == 1, "a batch has one number, however it is split"
        assert all((part.condition.calls == part.calls).all() for part in parts)
        drawn.append(parts[0].calls)
    assert {drawn.count(calls) > 10 for calls in CALLS} == {True}
    assert len(set(pairwise(drawn))) == 9, "in no order"


def test_every_step_of_a_student_counts_alike(class_run, tmp_path):
    """However many there are to the image: the loss of a batch is their sum, and of a single number of calls their mean."""
    for served in (CALLS, (3,)):
        task = read_task(Run(tmp_path / "none"), config_of_student(class_run, calls=served))
        task.device = torch.device("cpu")
        student, beside = make_denoiser(task.network.eval(), task.config), task.beside
        for step in range(4):
            [batch] = task.batches(step, [slice(None)])
            times = beside.timesteps(batch.calls)
            losses = distillation_loss(student, beside.teacher, batch.noise, times, 3, batch.condition)
            expected = losses.mean() if served == (3,) else losses.sum(1).mean() * len(CALLS) / sum(CALLS)
            assert task.loss(task.network, batch, step).item() == pytest.approx(expected.item(), rel=1e-6)


def test_it_learns_every_number(class_run, train, tmp_path):
    """The distance from the guided teacher's samples in 20 steps falls for all of them."""
    optimizer = OptimizerConfig(60, 16, lr=3e-3, warmup_steps=5, weight_decay=0.0, precision="no")
    config = config_of_student(class_run, optimizer, LogConfig(60, 60, 60, 60, 2), guidance=3.0)
    task = read_task(Run(tmp_path / "none"), config)
    task.beside.place(torch.device("cpu"), task.data.held_out_conditions, 64)
    before = task.beside.distances(task.network.eval())
    after = train(tmp_path / "run", config).metrics().iloc[-1]
    each = [loss_in_calls(calls) for calls in CALLS]
    assert after["val_loss"] == pytest.approx(sum(after[name] for name in each) / len(each))
    for name in each:
        assert after[name] < 0.7 * before[name]


def test_a_configuration_says_the_numbers_and_their_timesteps(student, class_run):
    own = student.config.distillation
    assert config_from_json(config_to_json(student.config)) == student.config
    longest = class_run.config.diffusion.timesteps
    assert (own.calls, len(own.timesteps)) == (CALLS, sum(CALLS))
    assert own.timesteps_for(2) == (longest - 1, longest / 2 - 1)
    for calls in CALLS:
        assert own.timesteps_for(calls) == pytest.approx([longest * (calls - k) / calls - 1 for k in range(calls)], abs=0.51)
    assert replace(own, calls=CALLS[::-1]).in_words == own.in_words == "2, 3 or 5 steps"
    effort = [training_calls(replace(own, calls=(calls,), timesteps=())) for calls in CALLS]
    assert training_calls(own) == pytest.approx(sum(effort) / len(CALLS), abs=1)
    for wrong in ((), (2, 2), (0, 3), (2, 1001)):
        with pytest.raises(ValueError, match="calls="):
            DistillationConfig(calls=wrong)
    with pytest.raises(ValueError, match=r"9 timesteps for 2 3 5 calls"):
        replace(own, timesteps=own.timesteps[1:])
    with pytest.raises(ValueError, match=r"calls=1 2: consistency tuning is for 1 or 2 calls: choose one of these"):
        DistillationConfig(calls=(1, 2), method="ect")


def test_older_students_have_a_single_number():
    """They say it as a number, not as a list, and have no embedding of it."""
    run = Run(PUBLISHED / "fashion-attention-student")
    assert json.loads((run.path / "config.json").read_text())["distillation"]["calls"] == 4
    own = run.config.distillation
    assert (own.calls, own.varies, own.in_words, own.timesteps_for(4)) == ((4,), False, "4 steps", (999, 937, 811, 624))
    network = load_model(run).denoiser.network
    assert network.calls is None


def test_it_samples_in_each_of_its_numbers_and_in_no_other(student, command, tmp_path):
    model = load_model(student)
    images = {}
    for calls in CALLS:
        request = as_learnt(SamplingRequest(2, steps=calls, label="all"), model.config)
        steps = [*sample(model, request)]
        assert [step.timestep for step in steps[:-1]] == list(model.config.distillation.timesteps_for(calls))
        assert steps[-1].nfe == calls
        images[calls] = steps[-1].x
        alone = [*sample(model, request, [1])][-1].x
        assert torch.allclose(alone, images[calls][1:], atol=1e-2), "whatever else is in the batch, up to rounding"
    for wrong in (1, 4, 6, 20):
        with pytest.raises(ValueError, match=rf"^{wrong} steps? of ddim .* has learnt 2, 3 or 5 steps of ddim"):
            sample(model, replace(request, steps=wrong))
    assert [own_steps(model.config, steps)["steps"] for steps in (1, 2, 3, 4, 5, 20)] == [2, 2, 3, 3, 5, 5]
    told = command("pipelines.sample", student.path, "--steps", 4, "--out", tmp_path / "out").refused_in_one_sentence()
    assert "2, 3 or 5 steps" in told
    done = command("pipelines.sample", student.path, "--steps", 3, "--num-images", 1, "--out", tmp_path / "out")
    assert done.code == 0, done.error


def test_its_network_is_told_the_number(student):
    """Without it there is no estimate; with another one, at the same timestep, there is another."""
    model = load_model(student, dtype=torch.float32)
    x = torch.randn(2, *model.state_shape)
    estimates = [model.denoiser(x, 500.0, told_calls(model.config, calls, None, 2, x.device)) for calls in CALLS]
    assert not torch.equal(estimates[0], estimates[1])
    assert not torch.equal(estimates[1], estimates[2])
    with pytest.raises(ValueError, match="has to be told the number of calls"):
        model.denoiser(x, 500.0)


def test_it_takes_the_timesteps_that_its_teacher_has_learned_for_all_numbers(class_run, train, tmp_path):
    teacher = Run(shutil.copytree(class_run.path, tmp_path / "teacher"))
    last = float(teacher.config.diffusion.timesteps - 1)
    times = tuple(tuple(last * 0.5**k for k in range(steps)) for steps in range(1, 6))
    LearnedSpacing(teacher.fingerprint, "ddim", 1.0, 1, 0, times).write(teacher)
    config = config_of_student(teacher, replace(OPTIMIZER, steps=1))
    assert config.distillation.spacing == "learned"
    model = load_model(train(tmp_path / "student", config))
    for calls in CALLS:
        steps = [*sample(model, as_learnt(SamplingRequest(1, steps=calls), model.config))]
        assert tuple(step.timestep for step in steps[:-1]) == times[calls - 1]
    with pytest.raises(ValueError, match=r"steps=4: student is a student, which has learnt 2, 3 or 5 steps and nothing else"):
        sample(model, replace(as_learnt(SamplingRequest(1), model.config), steps=4))
    assert config_of_student(teacher, calls=(2, 6)).distillation.spacing == "trailing", "not learnt for all"


def test_the_commands_measure_and_publish_it(command, student, class_run, judge, tmp_path):
    copies = {
        name: Run(shutil.copytree(run.path, tmp_path / name)) for name, run in (("pupil", student), ("master", class_run))
    }
    for run in copies.values():
        Evaluation(run).path.unlink(missing_ok=True)
    quick = ("--features", judge, "--num-images", 10, "--guidance", 3, "--likelihood-images", 0, "--held-out-images", 10)
    asked = (copies["master"].path, copies["pupil"].path, *quick, "--steps", 2, 3, 20)
    done = command("pipelines.evaluate", *asked)
    assert done.code == 0, done.error
    taken = [one.asked["request"]["steps"] for one in Evaluation(copies["pupil"]).of_kind("samples")]
    assert taken == [2, 3, 5], "of 20 steps, the nearest"
    assert "pupil is a student and samples in its own 2 steps." in done.output
    card = (publish(student, tmp_path / "published").path / "README.md").read_text()
    losses = student.metrics().iloc[-1]
    for part in (
        "--calls 2 3 5",
        "samples in 2, 3 or 5 steps of DDIM, at the timesteps 2: ",
        "Each sample, in 5 steps, is followed by its teacher's",
        f"{losses[loss_in_calls(3)]:.4f} in 3 steps",
    ):
        assert part in card


def test_what_cannot_be_told_the_number_is_refused(command, student, tmp_path):
    told = command("pipelines.export_diffusers", student.path, "--out", tmp_path / "out").refused_in_one_sentence()
    assert "is a student in 2, 3 or 5 steps" in told
    assert not list((tmp_path / "out").glob("*"))
