"""What to generate. Importing this module does not load torch."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import UseAppendAction


@dataclass(frozen=True)
class SamplingRequest:
    """What to generate. Together with the weights it determines every pixel."""

    num_images: int = 16
    """How many images."""
    seed: int = 0
    """Image i of a seed always starts from the same noise."""
    sampler: str = "dpmpp_2m"
    """ddpm, ddim, heun, dpmpp_2m or ipndm: a key of diffusion_core.samplers.SAMPLERS."""
    steps: int = 20
    """Sampling steps, from 1 to the length of the model's schedule. (Heun makes two network calls a step.)"""
    eta: float = 0.0
    """Fresh noise of ddim: 0 is deterministic, 1 as noisy as ddpm."""
    spacing: str = "trailing"
    """How timesteps are chosen: trailing, leading, linspace or log_snr."""
    label: str | None = None
    """For networks that know classes: the name or number of one, or "all" for all of them in turn. None: no class."""
    prompt: UseAppendAction[tuple[str, ...]] = ()
    """For networks that read: what to show, or a .txt file of prompts, one a line. Give it again for more prompts, which
    images take in turn."""
    negative_prompt: str | None = None
    """What to lead away from, with guidance; by default from images without any prompt."""
    guidance: float = 1.0
    """How much to exaggerate the class or the prompt: 1 follows the model as it is, 2 to 5 are usual."""
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    """Guide only in this part of the schedule: shares of its length, 0 is clean and 1 is noise."""
    guidance_rescale: float = 0.0
    """How far to bring the contrast of guided images back to that of unguided ones, from 0 to 1."""

    def __post_init__(self) -> None:
        if isinstance(self.prompt, str):  # it would be taken for a prompt a letter
            object.__setattr__(self, "prompt", (self.prompt,))
        if isinstance(self.label, int):
            object.__setattr__(self, "label", str(self.label))
        for name in ("prompt", "guidance_interval"):  # a request that comes from JSON has lists in their place
            object.__setattr__(self, name, tuple(getattr(self, name)))
