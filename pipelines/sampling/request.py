"""What to generate. Importing this module does not load torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import UseAppendAction

from diffusion_core.choices import SAMPLERS, SPACINGS

from ..common.settings import Between, Settings, one_of, require


@dataclass(frozen=True)
class SamplingRequest(Settings):
    """What to generate. Together with the weights it determines every pixel."""

    num_images: Annotated[int, Between(1, 10_000_000)] = 16
    """How many images."""
    seed: Annotated[int, Between(0, 2**63 - 1)] = 0
    """Image i of a seed always starts from the same noise."""
    sampler: Annotated[str, *one_of(SAMPLERS)] = "dpmpp_2m"
    """The sampler."""
    steps: Annotated[int, Between(1)] = 20
    """Sampling steps, from 1 to the length of the model's schedule."""
    eta: float = 0.0
    """Fresh noise of ddim: 0 is deterministic, 1 as noisy as ddpm."""
    spacing: Annotated[str, *one_of(SPACINGS)] = "trailing"
    """How timesteps are chosen."""
    label: str | None = None
    """For networks that know classes: the name or number of one, or "all" for all of them in turn. None: no class."""
    prompt: UseAppendAction[tuple[str, ...]] = ()
    """For networks that read: what to show, or a .txt file of prompts, one a line. Give it again for more prompts, which
    images take in turn."""
    negative_prompt: str | None = None
    """What to lead away from, with guidance; by default from images without any prompt."""
    guidance: Annotated[float, Between(0.0)] = 1.0
    """How much to exaggerate the class or the prompt: 1 follows the model as it is, 2 to 5 are usual."""
    guidance_interval: Annotated[tuple[float, float], Between(0.0, 1.0)] = (0.0, 1.0)
    """Guide only in this part of the schedule: shares of its length, 0 is clean and 1 is noise."""
    guidance_rescale: Annotated[float, Between(0.0, 1.0)] = 0.0
    """How far to bring the contrast of guided images back to that of unguided ones, from 0 to 1."""

    def __post_init__(self) -> None:
        if isinstance(self.prompt, str):  # it would be taken for a prompt a letter
            object.__setattr__(self, "prompt", (self.prompt,))
        if isinstance(self.label, int):
            object.__setattr__(self, "label", str(self.label))
        for name in ("prompt", "guidance_interval"):  # a request that comes from JSON has lists in their place
            object.__setattr__(self, name, tuple(getattr(self, name)))
        super().__post_init__()
        first, last = self.guidance_interval
        require(first <= last, f"guidance_interval={self.guidance_interval}: choose two shares that rise")
        self._check_options()

    def _check_options(self) -> None:
        """Check the fields that only some samplers take."""
        for name in {name: None for choice in SAMPLERS.values() for name in choice.options}:
            value = getattr(self, name)
            option = SAMPLERS[self.sampler].options.get(name)
            usual = type(self).__dataclass_fields__[name].default
            if option is None:
                takers = " or ".join(sampler for sampler, choice in SAMPLERS.items() if name in choice.options)
                sentence = f"{name}={value} is for the {takers} sampler: leave it at {usual:g} with {self.sampler}"
                require(value == usual, sentence)
            else:
                rule = Between(option.low, option.high)
                require(rule.takes(value), f"{name}={value}: choose {rule}")

    @property
    def options(self) -> dict[str, float]:
        """Keyword arguments that this sampler takes beside those that all take."""
        return {name: getattr(self, name) for name in SAMPLERS[self.sampler].options}
