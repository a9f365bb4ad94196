"""A run's own spacing: learnt, stored, used by every sampler, and refused where it does not belong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch

from diffusion_core.samplers import SAMPLERS
from pipelines.models.loading import load_model
from pipelines.sampling.generation import Comparison
from pipelines.sampling.learning import learn_spacing
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.sampling.trajectory import TrajectoryJob
from pipelines.storage.run import Run
from pipelines.storage.spacing import SPACING, learned_spacing

LEARNED = SamplingRequest(num_images=2, steps=3, spacing="learned")


@pytest.fixture(scope="module")
def spaced(tiny_run, tmp_path_factory):
    """A run with a spacing for up to 4 steps."""
    run = Run(shutil.copytree(tiny_run.path, tmp_path_factory.mktemp("spaced") / "run"))
    learn_spacing(load_model(run), steps=4, trajectories=3, seed=5, batch_size=2).write(run)
    return run


@pytest.fixture
def changeable(spaced, tmp_path):
    return Run(shutil.copytree(spaced.path, tmp_path / "run"))


def timesteps(run, request=LEARNED):
    return [step.timestep for step in sample(load_model(run), request)][:-1]


def test_every_sampler_visits_the_learnt_timesteps(spaced):
    learned = learned_spacing(spaced)
    assert (learned.fingerprint, learned.trajectories, learned.seed) == (spaced.fingerprint, 3, 5)
    for sampler in SAMPLERS:
        for steps in (1, 2, 3, 4):
            assert timesteps(spaced, replace(LEARNED, sampler=sampler, steps=steps)) == list(learned.timesteps[steps - 1])


def test_the_weights_alone_know_the_spacing_beside_them(spaced):
    assert timesteps(Run(spaced.model_path)) == timesteps(spaced)


def test_learning_is_deterministic_and_learns_under_guidance_what_can_be_guided(class_run):
    model = load_model(class_run, dtype=torch.float32)
    one, again = (learn_spacing(model, steps=3, trajectories=2, seed=0, batch_size=2) for _ in range(2))
    assert one == again
    assert one.guidance == 2


def test_a_request_for_more_steps_than_were_learnt_says_how_many_there_are(spaced):
    with pytest.raises(ValueError, match=r"steps=5: the learned spacing of run is for 1 to 4 steps: .* --steps 5`"):
        sample(load_model(spaced), replace(LEARNED, steps=5))


def test_a_run_without_one_says_how_to_learn_it(tiny_run):
    for ask in (
        lambda: sample(load_model(tiny_run), LEARNED),
        lambda: Comparison.of([(tiny_run, LEARNED)]),
        lambda: TrajectoryJob(tiny_run, LEARNED, (0,)),
    ):
        with pytest.raises(ValueError, match=r"tiny has no learned spacing: .*trailing.* `python -m pipelines.spacing .*tiny`"):
            ask()


def test_the_spacing_of_other_weights_is_refused(changeable, class_run):
    shutil.copy(class_run.model_path, changeable.model_path)
    with pytest.raises(ValueError, match=r"was learnt from other weights .* learn it again with"):
        learned_spacing(changeable)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"timesteps": []}, "timesteps: give those of 1 step at least"),
        ({"timesteps": [[999], [5, 999]]}, "timesteps: number 2 must have 2 descending timesteps"),
        ({"timesteps": [[1, 0]]}, "timesteps: number 1 must have 1 descending timesteps"),
        ({"timesteps": [[-1]]}, "timesteps: number 1"),
        ({"timesteps": [["NaN"]]}, "timesteps"),
        ({"guidance": -1}, "guidance=-1"),
        ({"colour": "red"}, "colour: is unknown"),
    ],
)
def test_a_damaged_file_is_one_sentence(changeable, change, told):
    file = changeable.path / SPACING
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=told):
        learned_spacing(changeable)


def test_timesteps_beyond_the_schedule_are_refused(changeable):
    file = changeable.path / SPACING
    file.write_text(json.dumps(json.loads(file.read_text()) | {"timesteps": [[10**6]]}))
    with pytest.raises(ValueError, match="timesteps must lie in 0 … 999"):
        timesteps(changeable, replace(LEARNED, steps=1))


def test_results_are_not_recalled_once_the_spacing_is_learnt_anew(changeable):
    def keys():
        [column] = Comparison.of([(changeable, LEARNED)]).columns
        return column.key, TrajectoryJob(changeable, LEARNED, (0,))._key

    before = keys()
    assert keys() == before
    learned = learned_spacing(changeable)
    replace(learned, timesteps=(*learned.timesteps[:2], (999.0, 2.0, 1.0))).write(changeable)
    assert all(new != old for new, old in zip(keys(), before, strict=True))


def test_the_command_learns_and_says_where_it_wrote(command, copied_run):
    done = command("pipelines.spacing", copied_run.path, "--steps", 3, "--trajectories", 2)
    assert done.code == 0, done.error
    assert " 3 steps: " in done.output
    assert done.output.splitlines()[-1].startswith(str(copied_run.path / SPACING))
    sampled = command("pipelines.sample", copied_run.path, "--spacing", "learned", "--steps", 3, "--num-images", 1,
                      "--out", copied_run.path.parent / "out")  # fmt: skip
    assert sampled.code == 0, sampled.error


def test_the_command_refuses_in_one_sentence(command, autoencoder_run, copied_run):
    assert "is an autoencoder" in command("pipelines.spacing", autoencoder_run.path).refused_in_one_sentence()
    told = command("pipelines.spacing", copied_run.path, "--device", "toaster").refused_in_one_sentence()
    assert told.startswith("device='toaster': this machine has no such device; choose cpu")
    assert (
        "choose a whole number from 2 to 30"
        in command("pipelines.spacing", copied_run.path, "--steps", 1).refused_in_one_sentence()
    )
    copied_run.model_path.unlink()
    assert "has no weights yet" in command("pipelines.spacing", copied_run.path).refused_in_one_sentence()
    assert not (copied_run.path / SPACING).exists()
