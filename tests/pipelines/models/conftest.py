"""A small network of diffusers with random weights, and its import."""

from __future__ import annotations

import pytest

from pipelines.storage.run import Run


@pytest.fixture(scope="session")
def make_unet():
    """Makes a UNet2DModel with random weights for images of 8×8."""
    import torch
    from diffusers import UNet2DModel

    def make(**settings):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            usual = {
                "sample_size": 8,
                "layers_per_block": 1,
                "block_out_channels": (8, 16),
                "norm_num_groups": 4,
                "attention_head_dim": 8,
                "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
                "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
            }
            return UNet2DModel(**usual | settings).eval()

    return make


@pytest.fixture(scope="session")
def small_unet(make_unet):
    """One of them. Shared: do not change it."""
    return make_unet()


@pytest.fixture
def import_it(command, tmp_path):
    """Imports a folder or a file; the run, and what was printed about it."""

    def run(path, *flags, name="theirs"):
        done = command("pipelines.import_diffusers", path, "--out", tmp_path / "runs" / name, *flags)
        assert done.code == 0, done.error
        return Run(tmp_path / "runs" / name), done.output

    return run


@pytest.fixture
def refused(command, tmp_path):
    """Imports what cannot be imported; what is said about it."""

    def run(path, *flags):
        said = command("pipelines.import_diffusers", path, "--out", tmp_path / "refused", *flags).refused_in_one_sentence()
        assert not (tmp_path / "refused").exists()
        return said

    return run
