"""Training from Python, with images of one's own."""

from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from pipelines.runs import Run
from pipelines.sample import SamplingRequest, load_model, sample
from pipelines.storage.config import ConditionConfig, LogConfig, NetworkConfig, OptimizerConfig, RunConfig
from pipelines.training.diffusion import DiffusionTask
from pipelines.training.loop import TrainingLoop
from pipelines.training.task import TrainingData

CONFIG = RunConfig(
    network=NetworkConfig(channels=(8, 16)),
    optimizer=OptimizerConfig(steps=6, batch_size=8, warmup_steps=0, precision="no"),
    log=LogConfig(log_every=1, sample_images=4),
)


@pytest.fixture(autouse=True)
def alone():
    """Forget Accelerate's process-wide state."""
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def images(count=40, labels=False):
    drawn = torch.randint(0, 256, (count, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return (drawn, torch.arange(count) % 2) if labels else drawn


def test_tensors_and_a_loader_of_the_same_images_train_the_same(tmp_path, logged):
    own, loader = images(), DataLoader(TensorDataset(images()), batch_size=16)
    for name, given in {"tensors": own, "loader": loader, "floats": own.float() / 127.5 - 1}.items():
        assert TrainingLoop(tmp_path / name, DiffusionTask(CONFIG, TrainingData.from_images(given))).fit()
    assert logged(tmp_path / "tensors") == logged(tmp_path / "loader") == logged(tmp_path / "floats")
    model = load_model(tmp_path / "tensors")
    assert model.image_shape == (1, 8, 8)
    *_, last = sample(model, SamplingRequest(num_images=2, steps=3))
    assert bool(last.x.isfinite().all())


def test_nothing_is_written_before_the_loop_is_prepared(tmp_path):
    loop = TrainingLoop(tmp_path / "run", DiffusionTask(CONFIG, TrainingData.from_images(images())))
    assert not (tmp_path / "run").exists()
    loop.prepare()
    assert (tmp_path / "run" / "config.json").is_file()
    assert Run(tmp_path / "run").config == loop.config
    loop.fit(time_limit=0)
    resumed = TrainingLoop(tmp_path / "run", DiffusionTask(CONFIG, TrainingData.from_images(images())))
    resumed.prepare()
    assert resumed.step == loop.step > 0


def test_labels_of_a_loader_reach_a_class_conditional_network(tmp_path):
    config = replace(
        CONFIG, network=NetworkConfig(unet="class", channels=(8, 16)), condition=ConditionConfig(classes=("even", "odd"))
    )
    data = TrainingData.from_images(DataLoader(TensorDataset(*images(labels=True)), batch_size=16))
    # Image n of the loader has label n % 2, and from_images keeps them together.
    drawn, labels = images(labels=True)
    for kept, known in ((data.images, data.conditions), (data.held_out, data.held_out_conditions)):
        for image, label in zip(kept, known.labels, strict=True):
            assert label == labels[next(n for n in range(len(drawn)) if torch.equal(drawn[n], image))]
    assert TrainingLoop(tmp_path / "run", DiffusionTask(config, data)).fit()
    *_, last = sample(load_model(tmp_path / "run"), SamplingRequest(num_images=2, steps=2, label="odd"))
    assert last.x.shape == (2, 1, 8, 8)


def test_one_image_is_too_few():
    with pytest.raises(ValueError, match="at least 2"):
        TrainingData.from_images(images(1))


def test_validation_takes_a_few_times_as_many_images_at_once_as_training(tmp_path):
    """A regression: batches of two large images trained, and then all memory was gone at the first validation."""
    data, losses = TrainingData.from_images(images(400)), []
    for batch_size in (4, 16):
        config = replace(CONFIG, optimizer=replace(CONFIG.optimizer, batch_size=batch_size, accumulation=2))
        loop = TrainingLoop(tmp_path / str(batch_size), DiffusionTask(config, data))
        loop.prepare()
        seen = []
        loop.network.register_forward_pre_hook(lambda _, arguments, seen=seen: seen.append(len(arguments[0])))
        losses.append(loop.task.validation_loss(loop.network))
        loop.task.draw(loop.network)
        assert max(seen) == 4 * batch_size // 2
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_noise_of_validation_is_that_of_all_images_at_once():
    """However many images are validated at once, and as in older versions."""
    task = DiffusionTask(CONFIG, TrainingData.from_images(images(30)[..., :5, :7].repeat(1, 3, 1, 1).repeat(1, 1, 2, 2)))
    drawn, whole = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    noise = torch.stack(list(task._validation_noise(drawn)))
    assert torch.equal(noise, torch.randn(noise.shape, generator=whole))
    assert torch.equal(torch.randperm(9, generator=drawn), torch.randperm(9, generator=whole))
