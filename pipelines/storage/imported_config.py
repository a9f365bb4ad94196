"""Settings of what was imported from other libraries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from ..common.settings import LONGEST, Between, Settings, require
from ..common.text import shorten

DIFFUSERS, LUCIDRAINS = "diffusers", "denoising_diffusion_pytorch"
IMPORTED = {DIFFUSERS: "Diffusers U-Net", LUCIDRAINS: "denoising-diffusion-pytorch U-Net"}  # ``unet`` and title of networks
MOST_LEVELS = 8
NUMBERS = {  # those of an imported network's settings that determine its size
    "block_out_channels": Between(1, 4096),
    "layers_per_block": Between(1, 32),
    "in_channels": Between(1, 1024),
    "out_channels": Between(1, 1024),
    "latent_channels": Between(1, 1024),
    "attention_head_dim": Between(1, 4096),
    "norm_num_groups": Between(1, 4096),
    "num_class_embeds": Between(1, 100_000),
    "sample_size": Between(1, 4096),
}


def check_numbers(settings: dict[str, Any]) -> None:
    """Raise SettingsError if one of the numbers that determine an imported network's size is out of range."""
    for name, rule in NUMBERS.items():
        value = settings.get(name)
        parts = value if isinstance(value, list | tuple) else [value]
        fits = value is None or (1 <= len(parts) <= MOST_LEVELS and all(map(rule.takes, parts)))
        require(fits, f"{name}={shorten(repr(value), LONGEST)}: choose {rule}, for each of at most {MOST_LEVELS} levels")


@dataclass(frozen=True)
class ImportedProcess(Settings):
    """What the scheduler of an imported model says, as far as other settings cannot say it.

    Attributes:
        name: the schedule's name in its library.
        betas: table of a variance-preserving schedule that has no name here, in place of the named one; empty for none.
        time: what the network takes as its time: the timestep; the number of timesteps times sigma (flow matching); or
            log(sigma/alpha)/4 (EDM).
        clip: largest absolute value of estimates of pixels; None for no limit.
        thresholding: quantile and limit of dynamic thresholding, instead of ``clip``; None for none.
    """

    name: str = ""
    betas: Annotated[tuple[float, ...], Between(0.0, 1.0)] = ()
    time: Literal["timestep", "sigma", "c_noise"] = "timestep"
    clip: Annotated[float | None, Between(0.0, above=True)] = 1.0
    thresholding: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        share, most = self.thresholding or (1.0, 1.0)
        require(0 < share <= 1 <= most, f"thresholding={self.thresholding}: give a quantile up to 1 and a limit of 1 or more")
