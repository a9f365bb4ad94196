"""Sampling requests. Importing this module does not load torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from diffusion_core.choices import LEARNED, MODEL_SPACINGS, SAMPLERS

from ..common.settings import REPEATED, Between, OneOf, Settings, require
from ..storage.run import Run
from ..storage.spacing import learned_timesteps


@dataclass(frozen=True)
class SamplingRequest(Settings):
    """The settings of sampling. Together with the weights they determine every pixel."""

    num_images: Annotated[int, Between(1, 10_000_000)] = 16
    """Number of images."""
    seed: Annotated[int, Between(0, 2**63 - 1)] = 0
    """Random seed. Image i of a seed always starts from the same noise."""
    sampler: Annotated[str, OneOf(SAMPLERS)] = "unipc"
    """The sampler."""
    steps: Annotated[int, Between(1)] = 20
    """Number of sampling steps, from 1 to the length of the model's schedule."""
    eta: float = 0.0
    """Amount of fresh noise in ddim: 0 is deterministic, 1 is as noisy as ddpm."""
    spacing: Annotated[str, OneOf(MODEL_SPACINGS)] = "trailing"
    """Spacing of the timesteps."""
    label: str | None = None
    """For class-conditional models: the name or number of a class, or "all" to cycle through them. None: unconditional."""
    prompt: Annotated[tuple[str, ...], REPEATED] = ()
    """For text-conditional models: a prompt, or a .txt file with one prompt per line. Repeat it for more prompts, through
    which the images cycle."""
    negative_prompt: str | None = None
    """Prompt to guide away from; by default guidance leads away from the unconditional estimate."""
    guidance: Annotated[float, Between(0.0)] = 1.0
    """Guidance scale, by which the class or the prompt is exaggerated: 1 means no guidance, 2 to 5 are usual."""
    guidance_interval: Annotated[tuple[float, float], Between(0.0, 1.0)] = (0.0, 1.0)
    """Guide only in this part of the schedule, in shares of its length: 0 is clean and 1 is noise."""
    guidance_rescale: Annotated[float, Between(0.0, 1.0)] = 0.0
    """How far to rescale guided images to the contrast of unguided ones, from 0 to 1."""

    def __post_init__(self) -> None:
        if isinstance(self.prompt, str):  # otherwise every letter would be a prompt
            object.__setattr__(self, "prompt", (self.prompt,))
        if isinstance(self.label, int):
            object.__setattr__(self, "label", str(self.label))
        for name in ("prompt", "guidance_interval"):  # lists in requests read from JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))
        super().__post_init__()
        first, last = self.guidance_interval
        require(first <= last, f"guidance_interval={self.guidance_interval}: choose two shares in increasing order")
        self._check_options()

    def _check_options(self) -> None:
        """Validate the fields that only some samplers take."""
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
        """Keyword arguments specific to this sampler."""
        return {name: getattr(self, name) for name in SAMPLERS[self.sampler].options}

    def learned_timesteps(self, run: Run) -> tuple[float, ...]:
        """Return the timesteps that the run has learnt for so many steps; none unless the spacing is the learned one.

        Raises:
            ValueError: see :func:`pipelines.storage.spacing.learned_timesteps`.
        """
        return learned_timesteps(run, self.steps) if self.spacing == LEARNED else ()


def spacing_in_words(name: str) -> str:
    """Return a spacing as it is called in a sentence, such as "learned spacing"."""
    title = MODEL_SPACINGS[name].title if name in MODEL_SPACINGS else name  # an old result may have another version's
    return f"{title if title == 'Karras' else title[:1].lower() + title[1:]} spacing"
