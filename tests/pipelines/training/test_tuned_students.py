"""Students by consistency tuning: from their training to their samples, evaluation and model card."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from pipelines.models.loading import load_model
from pipelines.models.teachers import student_config
from pipelines.sampling.own_steps import as_learnt, own_steps
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.config import DistillationConfig, LogConfig, OptimizerConfig, config_from_json, config_to_json
from pipelines.storage.publishing import model_card
from pipelines.storage.run import Run
from pipelines.training.consistency import STAGES
from pipelines.training.reading import read_task

OPTIMIZER = OptimizerConfig(steps=8, batch_size=4, lr=1e-3, warmup_steps=0, precision="no")
LOG = LogConfig(log_every=1, eval_every=4, sample_every=8, save_every=4, sample_images=6)


def tuned(teacher, calls=2, optimizer=OPTIMIZER):
    return student_config(teacher, DistillationConfig((calls,), "ect"), optimizer, LOG)


@pytest.fixture(scope="module")
def student(train, class_run, tmp_path_factory):
    """A student of a class-conditional run, in two calls."""
    return train(tmp_path_factory.mktemp("tuned") / "student", tuned(class_run))


@pytest.mark.parametrize("made", ["tiny_run", "latent_run", "text_run"])
def test_it_learns_from_its_teachers_images(request, made, make_trainer, tmp_path):
    """Pixels, latents and captions; images held out from the teacher stay held out."""
    teacher = request.getfixturevalue(made)
    task = read_task(Run(tmp_path / "none"), tuned(teacher))
    theirs = read_task(teacher, teacher.config)
    assert torch.equal(task.data.images, theirs.data.images)
    assert torch.equal(task.data.held_out, theirs.data.held_out)
    model = load_model(teacher, dtype=torch.float32)
    own = task.weights(task.network)
    assert all(torch.equal(own[name], tensor) for name, tensor in model.denoiser.network.state_dict().items())
    assert any(name.startswith("autoencoder") for name in own) == (made == "latent_run")
    trained = make_trainer(tmp_path / "run", tuned(teacher, optimizer=replace(OPTIMIZER, steps=1)))
    trained.fit()
    *_, last = sample(load_model(trained.run), as_learnt(SamplingRequest(2), trained.run.config))
    assert last.x.isfinite().all()


def test_training_resumes_exactly(student, class_run, train, make_trainer, logged, tmp_path):
    stopped = make_trainer(tmp_path / "run", tuned(class_run))
    stopped.fit(time_limit=0.0)
    assert 0 < stopped.step < 8
    resumed = train(tmp_path / "run", Run(tmp_path / "run").config)
    assert logged(resumed.path) == logged(student.path)
    assert resumed.fingerprint == student.fingerprint


def test_dropout_draws_the_same_masks_at_both_levels_of_noise(class_run, make_trainer, tmp_path):
    """At stages so late that both levels are nearly equal, the two estimates are, too, unless their masks differ."""
    config = tuned(class_run)
    config = replace(config, network=replace(config.network, dropout=0.5))
    loop = make_trainer(tmp_path / "run", config)
    loop.prepare()
    task = loop.task
    [batch] = task.batches(0, [slice(0, 4)])
    masks = task.dropouts[0].generator
    with torch.no_grad():
        network = task.network.train()
        alike, other = (
            task.consistency(denoiser_of(network, config), *batch, stage=12, masks=generator).mean()
            for generator in (masks, None)
        )
    assert alike < other / 10


def denoiser_of(network, config):
    from pipelines.models.networks import make_denoiser

    return make_denoiser(network, config)


def test_stages_pass_in_equal_parts(class_run, tmp_path):
    task = read_task(Run(tmp_path / "none"), tuned(class_run, optimizer=replace(OPTIMIZER, steps=80)))
    stages = [task.stage(step) for step in range(80)]
    assert stages == sorted(stages)
    assert [stages.count(stage) for stage in range(1, STAGES + 1)] == [80 // STAGES] * STAGES


def test_it_samples_as_it_has_learnt(student):
    model = load_model(student, dtype=torch.float32)
    own = model.config.distillation
    assert (own.guidance, own.spacing, own.eta) == (1.0, "trailing", 1.0)
    request = as_learnt(SamplingRequest(3, label="0", seed=5, guidance=4.0), model.config)
    assert own_steps(model.config) == {"sampler": "ddim", "steps": 2, "spacing": "trailing", "eta": 1.0}
    first, second, last = sample(model, request)
    assert (first.nfe, second.nfe, last.nfe) == (1, 2, 2)
    assert second.move.noise == pytest.approx(model.schedule.at(second.timestep)[1].item(), rel=1e-3)
    [_, other, _] = sample(model, replace(request, seed=6))
    [_, again, _] = sample(model, request, images=[1])
    assert torch.allclose(again.x[0], second.x[1], atol=1e-5), "fresh noise belongs to the image"
    assert not torch.allclose(other.x, second.x, atol=0.1)
    for wrong in ({"eta": 0.0}, {"steps": 3}, {"guidance": 2.0}, {"sampler": "ddpm", "eta": 0.0}):
        with pytest.raises(ValueError, match="is a student"):
            [*sample(model, replace(request, **wrong))]
    with pytest.raises(ValueError, match="has learnt 2 steps of ddim at trailing spacing with eta=1 and nothing else"):
        [*sample(model, replace(request, eta=0.5))]


def test_one_call_adds_no_noise(class_run):
    config = tuned(class_run, calls=1)
    assert own_steps(config)["eta"] == 0.0
    assert config.distillation.timesteps == (config.diffusion.timesteps - 1,)


def test_a_tuned_student_is_a_run(command, student, judge, tmp_path):
    own = student.config
    assert config_from_json(config_to_json(own)) == own
    assert student.metrics()["val_loss"].notna().sum() == 2
    assert student.samples()
    card = model_card(student, "student", 1)
    for part in ("--calls 2", "--method ect", "easy consistency tuning", "images seen", "with eta 1", "from the same noise"):
        assert part in card
    copy = Run(shutil.copytree(student.path, tmp_path / "copy"))
    done = command("pipelines.evaluate", copy.path, "--features", judge, "--num-images", 10)
    assert done.code == 0, done.error
    results = json.loads((copy.path / "evaluation.json").read_text())["results"]
    [request] = [result["asked"]["request"] for result in results if result["kind"] == "samples"]
    assert {name: request[name] for name in own_steps(own)} == own_steps(own)


def test_what_cannot_be_tuned_is_told_in_a_sentence(command, student, class_run, autoencoder_run, copied_run, tmp_path):
    asked = {
        "calls=4: consistency tuning is for 1 or 2 calls": [class_run.path],
        "images, which are not guided": [class_run.path, "--calls", 2, "--guidance", 2],
        "takes no steps of the teacher": [class_run.path, "--calls", 2, "--teacher-steps", 3],
        "precision=bf16: consistency tuning compares": [class_run.path, "--calls", 2, "--precision", "bf16"],
        "itself a student": [student.path, "--calls", 2],
        "is an autoencoder": [autoencoder_run.path, "--calls", 2],
    }
    for sentence, arguments in asked.items():
        told = command("pipelines.distill", *arguments, "--method", "ect", "--out", tmp_path / "out")
        assert sentence in told.refused_in_one_sentence()
    assert not (tmp_path / "out").exists()
    config = copied_run.config
    copied_run.write_config(replace(config, data=replace(config.data, data=str(tmp_path / "gone"))))
    told = command("pipelines.distill", copied_run.path, "--calls", 2, "--method", "ect", "--out", tmp_path / "out")
    assert str(tmp_path / "gone") in told.refused_in_one_sentence()


def test_students_of_before_are_read_as_they_were():
    """Their files say the method already."""
    assert DistillationConfig().method == "sfd"
    assert DistillationConfig().eta == 0.0
