"""Samplers and spacings at equal numbers of network calls: how far their samples are from the fine solution."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from diffusion_core.choices import LEARNED, MODEL_SPACINGS, SAMPLERS

from ..common.text import counted
from ..storage.run import Run
from ..storage.spacing import has_learned
from .effort import guided_calls, size_of
from .origins import FROM_NOISE
from .queue import Results, interruptible
from .request import SamplingRequest
from .sample import sample
from .xray import Examination, noise_at_the_end, refuse_students, same_weights

if TYPE_CHECKING:
    from diffusion_core.samplers import Step

    from ..models.loading import LoadedModel

IMAGES = 4  # over which errors are averaged


@dataclass(frozen=True)
class Standing:
    """How far the samples of one sampler at one spacing are from the fine solution.

    Attributes:
        steps, nfe: steps and network calls that it took.
        error: root mean square distance, averaged over images.
    """

    sampler: str
    spacing: str
    steps: int
    nfe: int
    error: float


@dataclass(frozen=True)
class Standings:
    """The standings of all samplers and spacings, in the order of the registries.

    Attributes:
        of_latents: whether errors are of latents.
        nbytes: bytes to count in the cache of results; so little is not counted.
    """

    rows: tuple[Standing, ...]
    of_latents: bool = False
    nbytes: int = 0


def calls_in_words(calls: int, request: SamplingRequest) -> str:
    """Return the number of network calls at which samplers are compared, without those of guidance."""
    return counted(calls, "network call") + ", guidance not counted" * (request.guidance != 1)


def requests_at(run: Run, request: SamplingRequest, calls: int) -> list[SamplingRequest]:
    """Return a request for every sampler without fresh noise and every spacing, with as many steps as ``calls`` allow.

    The learned spacing is among them where the run has one for its weights and for so many steps.

    Args:
        calls: network calls for each image, without the guidance's.
    """
    found, longest = [], run.config.diffusion.timesteps  # the schedule's length limits the steps
    for sampler, choice in SAMPLERS.items():
        if choice.order:
            steps = max(1, min(calls // choice.calls, longest))
            spacings = [spacing for spacing in MODEL_SPACINGS if spacing != LEARNED or _has_learned(run, steps)]
            found += [replace(request, sampler=sampler, spacing=spacing, steps=steps, eta=0.0) for spacing in spacings]
    return found


def _has_learned(run: Run, steps: int) -> bool:
    """Return whether a run has timesteps learnt for its weights and so many steps."""
    try:
        return has_learned(run, steps)
    except (ValueError, OSError):  # why it cannot be used is said where the spacing is chosen
        return False


def standings(model: LoadedModel, request: SamplingRequest, calls: int, images: Sequence[int]) -> Iterator[Standing | None]:
    """Sample with each sampler and spacing from the same noise; yield None after each step, and what was found after the last.

    Samplers that add fresh noise are left out: from the same noise they lead elsewhere, and are not wrong in that.
    """
    from diffusion_core.xray import rms

    refuse_students(model.config, model.name)
    exact = yield from _last(_fine(model, request, images))
    for asked in requests_at(model.run, request, calls):
        made = yield from _last(sample(model, asked, images))
        yield Standing(asked.sampler, asked.spacing, asked.steps, made.nfe, rms(made.x - exact.x).mean().item())


def _last(steps: Iterator[Step]) -> Generator[None, None, Step]:
    """Yield None after each step, and return the last."""
    last = next(steps)
    for step in steps:
        yield None
        last = step
    return last


def _fine(model: LoadedModel, request: SamplingRequest, images: Sequence[int]) -> Iterator[Step]:
    """Yield the steps of the fine solution from the images' noise, the last of which holds its samples."""
    from diffusion_core.fine_solution import fine_solution
    from diffusion_core.schedules import sampling_timesteps

    from .prompts import guided_denoiser

    start = FROM_NOISE.start(model, request, images)
    denoise, condition = guided_denoiser(model, request, images)
    timesteps = sampling_timesteps(model.schedule, min(10, model.schedule.num_timesteps))
    x = noise_at_the_end(model, FROM_NOISE, start.x, start.timesteps)
    yield from fine_solution(denoise, x, timesteps, model.schedule, condition)


def found_at(model: LoadedModel, request: SamplingRequest, calls: int) -> Standings:
    """Compare all samplers and spacings on the images of a request."""
    found = standings(model, request, calls, range(request.num_images))
    return Standings(tuple(row for row in found if row is not None), model.autoencoder is not None)


@dataclass(eq=False)
class StandingsJob(Examination):
    """The standings of samplers and spacings, to be computed by the queue.

    Attributes:
        calls: network calls for each image.
        images: image numbers.
        fingerprint: of the weights.
        found: the standings; None until they are complete.
    """

    doing = "Comparing"
    run: Run
    request: SamplingRequest
    calls: int
    images: tuple[int, ...]
    fingerprint: str
    found: Standings | None = None

    def __post_init__(self) -> None:
        usual = SamplingRequest()  # its values stand for what does not matter here, so that equal comparisons have equal keys
        self.request = replace(
            self.request, sampler=usual.sampler, spacing=usual.spacing, steps=usual.steps, eta=usual.eta, num_images=1
        )
        self._asked = requests_at(self.run, self.request, self.calls)
        self._learned = tuple(request.learned_timesteps(self.run) for request in self._asked)

    @property
    def num_steps(self) -> int:
        return 10 + sum(request.steps for request in self._asked)

    @property
    def expected_calls(self) -> int:
        """About how many network calls it takes for each image, without the guidance's."""
        from diffusion_core.fine_solution import CALLS, SUBSTEPS

        return CALLS * SUBSTEPS + self.calls * len(self._asked)

    @property
    def effort(self) -> float:
        config = self.run.config
        return size_of(config) * len(self.images) * self.expected_calls * guided_calls(config, self.request)

    @property
    def _key(self) -> tuple[object, ...]:
        return "standings", self.fingerprint, self.request, self._learned, self.calls, self.images

    def compute(self, results: Results) -> Iterator[None]:
        model, rows = same_weights(self.run, self.fingerprint), []
        with interruptible(model.networks, self):
            for found in standings(model, self.request, self.calls, self.images):
                if found is None:
                    self._done += 1
                    yield
                else:
                    rows.append(found)
        self.found = Standings(tuple(rows), model.autoencoder is not None)
        results.keep(self._key, self.found)
