"""The X-ray of a sampler's steps on one model: where each went, and how wrong it was (see diffusion_core/xray.py)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..models.loading import loaded_model
from ..storage.config import RunConfig
from ..storage.run import Run
from .effort import guided_calls, size_of
from .origins import FROM_NOISE, Origin
from .own_steps import refuse_student
from .queue import Job, Results, interruptible
from .request import SamplingRequest
from .sample import sample

if TYPE_CHECKING:
    from torch import Tensor

    from diffusion_core.xray import StepReport

    from ..models.loading import LoadedModel


@dataclass(frozen=True, eq=False)
class XRay:
    """The reports on S steps of a sampler: one value for each of the S + 1 states, averaged over images.

    Attributes:
        timesteps, log_snr, orders, corrected, noise, rms, moved, local_error, global_error, turn, clipped, reference_error:
            see :class:`diffusion_core.xray.StepReport`; an order is 0 if it is unknown.
        last_timestep, lowest_log_snr: of the model's schedule.
        from_noise: whether sampling starts from pure noise.
        of_latents: whether states are latents.
    """

    timesteps: NDArray[np.float64]
    log_snr: NDArray[np.float64]
    orders: NDArray[np.int64]
    corrected: NDArray[np.bool_]
    noise: NDArray[np.float64]
    rms: NDArray[np.float64]
    moved: NDArray[np.float64]
    local_error: NDArray[np.float64]
    global_error: NDArray[np.float64]
    turn: NDArray[np.float64]
    clipped: NDArray[np.float64]
    reference_error: NDArray[np.float64]
    last_timestep: int
    lowest_log_snr: float
    from_noise: bool = True
    of_latents: bool = False

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.timesteps) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return sum(
            part.nbytes for part in (getattr(self, field.name) for field in fields(self)) if isinstance(part, np.ndarray)
        )


def reports(
    model: LoadedModel, request: SamplingRequest, images: Sequence[int] | None = None, origin: Origin = FROM_NOISE
) -> Iterator[StepReport]:
    """Sample, and yield a report on the starting state and on each step; see :func:`pipelines.sampling.sample.sample`.

    Raises:
        ValueError: a part of a picture is kept, or the request cannot be sampled.
    """
    from diffusion_core.xray import x_ray

    from .prompts import guided_denoiser

    refuse_students(model.config, model.name)
    numbers = range(request.num_images) if images is None else images
    start = origin.start(model, request, numbers)
    if start.known is not None:
        raise ValueError(
            "inpainting changes what the sampler solves at every step, so its steps have no fine solution to be compared with: "
            "choose an image without a mask"
        )
    denoise, condition = guided_denoiser(model, request, numbers)
    yield from x_ray(
        sample(model, request, numbers, origin),
        denoise,
        model.schedule,
        condition,
        noise=start.noise,
        start=noise_at_the_end(model, origin, start.x, start.timesteps) if origin.from_noise else None,
        data_range=model.denoiser.data_range,
    )


def refuse_students(config: RunConfig, name: str) -> None:
    """Raise ValueError if a model is a student, whose learnt steps approximate no solution of its own."""
    refuse_student(config, name, "whose few steps are learnt and have no fine solution to be compared with")


def noise_at_the_end(model: LoadedModel, origin: Origin, x: Tensor, timesteps: Tensor) -> Tensor:
    """Return the state at the schedule's last timestep that is the same noise as ``x``, the state at the first of others."""
    last = timesteps.new_tensor([model.schedule.num_timesteps - 1])
    return x * (origin.deviation(model, last) / origin.deviation(model, timesteps))


def xray_of(model: LoadedModel, origin: Origin, found: Sequence[StepReport]) -> XRay:
    """Gather the reports on a sampler's steps."""
    means = {
        name: np.array([getattr(report, name).mean().item() for report in found])
        for name in ("rms", "moved", "local_error", "global_error", "turn", "clipped", "reference_error")
    }
    return XRay(
        timesteps=np.array([report.timestep for report in found]),
        log_snr=np.array([report.log_snr for report in found]),
        orders=np.array([report.order or 0 for report in found]),
        corrected=np.array([report.corrected for report in found]),
        noise=np.array([report.noise for report in found]),
        **means,
        last_timestep=model.schedule.num_timesteps - 1,
        lowest_log_snr=model.schedule.log_snr[-1].item(),
        from_noise=origin.from_noise,
        of_latents=model.autoencoder is not None,
    )


def xray(model: LoadedModel, request: SamplingRequest, origin: Origin = FROM_NOISE) -> XRay:
    """Examine how a request is sampled."""
    return xray_of(model, origin, list(reports(model, request, origin=origin)))


def expected_calls(steps: int) -> int:
    """Return about how many network calls an X-ray takes for each image, without the guidance's."""
    from diffusion_core.fine_solution import CALLS, SUBSTEPS

    substeps = SUBSTEPS + 2 * steps  # at least two a step
    return int(2.5 * CALLS * substeps) + 4 * steps


def same_weights(run: Run, fingerprint: str) -> LoadedModel:
    """Return the model with these weights.

    Raises:
        ValueError: the run has saved new ones since.
    """
    model = loaded_model(run, fingerprint)
    if model.fingerprint != fingerprint:
        raise ValueError(f"{run.name} has saved new weights since this image was made: make it again with them")
    return model


class Examination(Job):
    """A job that examines how a run samples, and keeps what it finds.

    Attributes:
        found: the result; None until it is complete.
    """

    run: Run
    found: Any = None
    _done = 0

    @property
    @abstractmethod
    def _key(self) -> tuple[object, ...]:
        """What determines the result."""

    def is_of(self, other: Examination) -> bool:
        """Return whether another job finds the same."""
        return (self.run.path, self._key) == (other.run.path, other._key)

    @property
    def steps_done(self) -> int:
        return self._done

    @property
    def nbytes(self) -> int:
        return 0 if self.found is None else self.found.nbytes

    def recall(self, results: Results) -> bool:
        self.found = results.find(self._key)
        return self.found is not None


@dataclass(eq=False)
class XRayJob(Examination):
    """The X-ray of one image, to be computed by the queue.

    Attributes:
        fingerprint: of the weights that made the trajectory.
        learned: its timesteps, if their spacing is the learned one.
        found: the X-ray; None until it is complete.
    """

    doing = "Comparing with a fine solution"
    run: Run
    request: SamplingRequest
    image: int
    origin: Origin
    fingerprint: str
    learned: tuple[float, ...] = ()
    found: XRay | None = None

    @property
    def num_steps(self) -> int:
        return self.request.steps

    @property
    def effort(self) -> float:
        config = self.run.config
        return size_of(config) * expected_calls(self.request.steps) * guided_calls(config, self.request)

    @property
    def _key(self) -> tuple[object, ...]:
        return "xray", self.fingerprint, self.request, self.learned, self.image, self.origin

    def compute(self, results: Results) -> Iterator[None]:
        model, found = same_weights(self.run, self.fingerprint), []
        with interruptible(model.networks, self):
            for report in reports(model, self.request, [self.image], self.origin):
                found.append(report)
                self._done = report.index
                yield
        self.found = xray_of(model, self.origin, found)
        results.keep(self._key, self.found)
