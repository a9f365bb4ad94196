"""The steps with which sampling a model begins, if nothing else is asked for."""

from dataclasses import replace

import pytest

from pipelines.evaluate import Evaluate, spacings_for
from pipelines.sample import defaults_for
from pipelines.sampling.own_steps import default_request
from pipelines.storage.config import LatentConfig, RunConfig
from pipelines.storage.runs import find_run


@pytest.mark.parametrize(
    ("image", "latent", "spacing"),
    [(28, None, "trailing"), (32, None, "trailing"), (33, None, "shifted"), (64, None, "shifted"), (128, 32, "trailing")],
)
def test_the_spacing_suits_the_size_of_what_is_sampled(image, latent, spacing):
    """Of images or, in latent diffusion models, of latents."""
    shape = None if latent is None else (4, latent, latent)
    config = replace(RunConfig(), image_shape=(3, image, image), latent=LatentConfig(latent_shape=shape))
    assert default_request(config).spacing == spacing
    assert spacings_for(config, Evaluate(())) == (spacing,)
    assert spacings_for(config, Evaluate((), spacing=("karras",))) == ("karras",)


@pytest.mark.parametrize(
    ("name", "steps"), [("flowers-attention-64", 20), ("fashion-baseline", 20), ("fashion-attention-student", 4)]
)
def test_the_command_begins_with_what_suits_the_run_that_it_names(name, steps):
    asked = defaults_for(["--seed", "3", name]).request
    assert asked == default_request(find_run(name).config)
    assert asked.steps == steps
