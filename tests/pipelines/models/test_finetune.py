"""Training that starts from another run: the same images at first, other ones later, and plain weights in the end."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image, ImageDraw

from pipelines.models.finetune import adopt, plain_weights
from pipelines.models.loading import load_model
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.run import Run
from pipelines.storage.weights import read_tensors


@pytest.fixture
def triangles(tmp_path):
    """Other data: triangles, and circles that the runs know already."""
    for kind in ("circles", "triangles"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for number in range(12):
            image = Image.new("RGB", (12, 12), (number, 0, 30))
            draw = ImageDraw.Draw(image)
            if kind == "circles":
                draw.ellipse((2, 2, 9, 9), fill=(200, 20 * number, 90))
            else:
                draw.polygon([(1, 10), (10, 10), (5, 1 + number % 4)], fill=(60, 200, 20 * number))
            image.save(tmp_path / "data" / kind / f"{number}.png")
    return str(tmp_path / "data")


def weights_of(run):
    return read_tensors(run.model_path)[0]


@pytest.mark.parametrize("rank", [0, 2])
def test_the_first_weights_are_the_other_run_s(make_trainer, tmp_path, text_run, triangles, rank):
    trainer = make_trainer(tmp_path / "run", data=triangles, init_from=str(text_run.path), lora_rank=rank)
    first = plain_weights(trainer.network) if rank else trainer.network.state_dict()
    assert first.keys() == weights_of(text_run).keys()
    assert all(torch.equal(first[name], tensor) for name, tensor in weights_of(text_run).items())


def test_low_rank_training_changes_attention_alone_and_leaves_an_ordinary_model(train, tmp_path, text_run, triangles):
    run = train(tmp_path / "run", data=triangles, init_from=str(text_run.path), lora_rank=2, steps=12, lr=1e-2)
    before, after = weights_of(text_run), weights_of(run)
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert changed
    assert all("attention" in name or "feed_forward" in name or "transformer" in name for name in changed)
    for name in changed:  # the difference has the rank that was asked for
        assert torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3) <= 2
    model = load_model(run)
    *_, last = sample(model, SamplingRequest(num_images=2, steps=2, prompt=("a circle",)))
    assert last.x.isfinite().all()


def test_the_weights_are_those_of_the_start_and_the_product_of_the_additions(make_trainer, tmp_path, class_run, triangles):
    network = make_trainer(tmp_path / "run", data=triangles, init_from=str(class_run.path), lora_rank=2).network
    added = {}
    with torch.no_grad():
        for name, module in network.named_modules():
            if hasattr(module, "lora_A"):
                a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
                added[f"{name}.weight"] = b.normal_(generator=torch.Generator().manual_seed(0)) @ a
    before, after = weights_of(class_run), plain_weights(network)
    assert added
    for name, product in added.items():
        torch.testing.assert_close(after[name], before[name] + product, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_resumed_fine_tuning_is_exact_and_needs_the_source_no_more(train, make_trainer, tmp_path, text_run, triangles, rank):
    source = tmp_path / "source.safetensors"
    source.write_bytes(text_run.model_path.read_bytes())
    settings = {"data": triangles, "init_from": str(source), "lora_rank": rank, "steps": 8}
    whole = train(tmp_path / "whole", **settings)
    trainer = make_trainer(tmp_path / "parts", **settings)
    while trainer.step < 4:
        trainer.train_step()
    trainer.save()
    source.unlink()
    parts = train(tmp_path / "parts", config=Run(tmp_path / "parts").config)
    resumed = weights_of(parts)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in weights_of(whole).items())


def test_known_classes_keep_their_embedding_and_new_ones_start_from_none(make_trainer, tmp_path, class_run, triangles):
    trainer = make_trainer(tmp_path / "run", data=triangles, init_from=str(class_run.path))
    assert trainer.config.condition.classes == ("circles", "triangles")
    old, new = weights_of(class_run)["class_embedding.weight"], trainer.network.class_embedding.weight
    assert torch.equal(new[0], old[0])
    assert torch.equal(new[1], old[2])
    assert torch.equal(new[2], old[2])


def test_low_rank_training_learns_new_classes_and_of_augmentation(train, tmp_path, class_run, triangles):
    """Frozen, a new class would stay what "no class" is, and augmentation would leak into samples."""
    source = train(tmp_path / "source", unet="class", attention_levels=(1,), steps=2)
    settings = {"data": triangles, "init_from": str(source.path), "lora_rank": 2, "augment": 0.5}
    after = weights_of(train(tmp_path / "run", **settings, steps=4, lr=1e-2))
    assert not torch.equal(after["class_embedding.weight"][1], after["class_embedding.weight"][2])
    assert after["augment.weight"].any()


def test_images_are_as_large_as_those_of_the_start(small_config, text_run):
    usual = small_config(init_from=str(text_run.path))
    assert adopt(replace(usual, data=replace(usual.data, image_size=None))).data.image_size == 8
    assert adopt(replace(usual, data=replace(usual.data, image_size=16))).data.image_size == 16


def test_images_are_as_large_as_those_of_the_autoencoder(small_config, autoencoder_run):
    """A dataset's own size may be another one, for which the autoencoder was not trained."""
    side = autoencoder_run.config.image_shape[1]
    assert adopt(small_config(latent=str(autoencoder_run.path), image_size=None)).data.image_size == side == 16
    assert adopt(small_config(latent=str(autoencoder_run.path), image_size=8)).data.image_size == 8


def test_settings_are_taken_over(small_config, class_run):
    taken = adopt(small_config(init_from=str(class_run.path)))
    assert taken.network == class_run.config.network
    assert taken.init.init_fingerprint == class_run.fingerprint
    assert adopt(taken) == taken


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"init_from": "CLASS", "unet": "text"}, "takes over unet=class from class: leave out --unet text"),
        ({"init_from": "CLASS", "prediction": "v"}, "takes over prediction=flow"),
        ({"init_from": "nowhere"}, "no run at 'nowhere'"),
        ({"init_from": "BASELINE", "lora_rank": 2}, "adapts attention"),
        ({"init_from": "CLASS", "data": "GREY"}, "takes 3 channels, and the images of .* have 1"),
    ],
)
def test_what_does_not_fit_is_refused(make_trainer, tmp_path, class_run, tiny_run, settings, sentence):
    grey = tmp_path / "grey"
    for number in range(8):
        (grey / str(number % 2)).mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), number).save(grey / str(number % 2) / f"{number}.png")
    places = {"CLASS": str(class_run.path), "BASELINE": str(tiny_run.path), "GREY": str(grey)}
    with pytest.raises(ValueError, match=sentence):
        make_trainer(tmp_path / "run", **{name: places.get(value, value) for name, value in settings.items()})


def test_a_rank_without_a_run_is_refused(small_config):
    with pytest.raises(ValueError, match="lora_rank needs a run"):
        small_config(lora_rank=2)


def test_a_source_that_changed_is_refused(make_trainer, tmp_path, tiny_run):
    config = replace(
        tiny_run.config, init=replace(tiny_run.config.init, init_from=str(tiny_run.path), init_fingerprint="0" * 16)
    )
    with pytest.raises(ValueError, match="have changed since"):
        make_trainer(tmp_path / "run", config)


def test_augmentation_may_begin_and_end_with_a_fine_tuning(train, tmp_path, tiny_run, image_folder):
    told = train(tmp_path / "told", data=str(image_folder), init_from=str(tiny_run.path), augment=0.5, dropout=0.1, steps=2)
    assert "augment.weight" in weights_of(told)
    untold = train(tmp_path / "untold", data=str(image_folder), init_from=str(told.path), steps=2)
    assert "augment.weight" not in weights_of(untold)


def test_an_autoencoder_is_no_start_for_a_diffusion_model(command, autoencoder_run, triangles):
    arguments = ("--data", triangles, "--init-from", autoencoder_run.path)
    said = command("pipelines.train", *arguments).refused_in_one_sentence()
    assert f"--latent {autoencoder_run.path}" in said
