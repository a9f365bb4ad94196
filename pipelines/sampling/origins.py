"""Where sampling starts: from noise, from between two seeds, from a picture, from its inversion, or from between two pictures.

An :class:`Origin` says where: noise by itself, other places in its subclasses. It can be compared and hashed, so what was made
from it can be found again; with a model and a request it makes the :class:`Start`. Pictures are the bytes of image files, of
any kind and size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .fitting import fit_mask, fit_to_model, refuse_other_size

if TYPE_CHECKING:
    from torch import Tensor

    from diffusion_core.noise import InterpolatedNoise, SeededNoise

    from ..models.loading import LoadedModel
    from .request import SamplingRequest

INVERSIONS_KEPT = 16  # of a model: a table starts all its rows from the same few
_inversions: WeakKeyDictionary[LoadedModel, dict[tuple[Any, ...], tuple[Tensor, int]]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Known:
    """The part of an image that stays.

    Attributes:
        image: (1, C, H, W), pixels in [−1, 1] or latents, as the model has them.
        mask: (1, 1, H, W), 1 where the image stays and 0 elsewhere.
        resamplings: how often each step is taken until both parts agree (RePaint); with 1 the request's sampler makes the rest.
    """

    image: Tensor
    mask: Tensor
    resamplings: int = 1


@dataclass(frozen=True, eq=False)
class Start:
    """Where sampling starts, and which way it goes from there.

    Attributes:
        x: (B, C, H, W) float32, the state at the first timestep.
        timesteps: descending.
        noise: what a stochastic sampler adds on the way, for B images.
        known: what stays as it is; nothing by default.
    """

    x: Tensor
    timesteps: Tensor
    noise: SeededNoise | InterpolatedNoise
    known: Known | None = None


@dataclass(frozen=True)
class Origin:
    """Where sampling starts, whichever model is asked: from pure noise of the request's seed, or where a subclass says."""

    @property
    def reach(self) -> float:
        """The share of the schedule's length at which sampling starts."""
        return 1.0

    def timesteps(self, model: LoadedModel, request: SamplingRequest) -> Tensor:
        """The timesteps to visit: those of the request within :attr:`reach`, and always the least noisy one; descending."""
        from diffusion_core.schedules import sampling_timesteps

        timesteps = sampling_timesteps(model.schedule, request.steps, request.spacing)
        visited = timesteps <= self.reach * model.schedule.num_timesteps
        visited[-1] = True
        return timesteps[visited]

    def notes(self, model: LoadedModel, request: SamplingRequest) -> list[str]:
        """What whoever asked should know, a sentence each: that steps this few begin further away than they asked for."""
        begun = self.timesteps(model, request)[0].item() / model.schedule.num_timesteps
        if begun <= self.reach:
            return []
        steps = f"{request.steps} step{'' if request.steps == 1 else 's'}"
        return [f"Strength {self.reach:g} is less than {steps} can take: they begin at {begun:.2g}. Take more steps."]

    def start(self, model: LoadedModel, request: SamplingRequest, images: Sequence[int]) -> Start:
        """The state to sample from.

        Args:
            images: which image numbers of the request.

        Raises:
            ValueError: something that the model cannot do.
        """
        from diffusion_core.noise import SeededNoise

        noise = SeededNoise(request.seed, model.state_shape, images)
        timesteps = self.timesteps(model, request)
        return Start(noise.initial(model.device) * self.deviation(model, timesteps), timesteps, noise)

    def nfe(self, model: LoadedModel, request: SamplingRequest) -> int:
        """The network evaluations, of one image, that it takes to come to the start: once, for however many images.

        They are counted when they are made: after :meth:`start` the answer is at hand, before it they are made for it.
        """
        return sum(nfe for _, nfe in self._inversions(model, request))

    def images(self, model: LoadedModel, x0: Tensor) -> Tensor:
        """Samples from here, or estimates on the way -> the images that they stand for, (B, C, H, W) in [−1, 1]."""
        return model.decode(x0)

    def _inversions(self, model: LoadedModel, request: SamplingRequest) -> list[tuple[Tensor, int]]:
        """Of each picture that is traced back to noise, see :func:`_inverted`."""
        return []

    def deviation(self, model: LoadedModel, timesteps: Tensor) -> float:
        """The standard deviation of states where sampling starts, of data with a variance of 1.

        It is 1 where the schedule preserves variance, and at every schedule's end; the leading spacing begins before.
        """
        alpha, sigma = model.schedule.at(timesteps[0])
        return float(alpha.square().add(sigma.square()).sqrt())

    @property
    def about(self) -> dict[str, Any]:
        """What the metadata of images say of it: its settings, with a digest in the place of each picture."""
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        told = {name: _digest(value) if isinstance(value, bytes) else value for name, value in settings.items()}
        return {"kind": type(self).__name__} | told


def _digest(picture: bytes) -> str:
    return hashlib.sha256(picture).hexdigest()[:16]


FROM_NOISE = Origin()


@dataclass(frozen=True)
class BetweenSeeds(Origin):
    """Between the noise of the request's seed and that of another one.

    Attributes:
        other_seed: which other one.
        weights: of each image of the request, from 0, the request's seed, to 1, the other.
        image: whose noise it is, in both seeds.
    """

    other_seed: int
    weights: tuple[float, ...]
    image: int = 0

    def __post_init__(self) -> None:
        _refuse_weights(self.weights, "seed")

    def start(self, model: LoadedModel, request: SamplingRequest, images: Sequence[int]) -> Start:
        from diffusion_core.noise import InterpolatedNoise, SeededNoise

        drawn = [self.image] * len(images)
        first, second = (SeededNoise(seed, model.state_shape, drawn) for seed in (request.seed, self.other_seed))
        noise = InterpolatedNoise(first, second, [self.weights[number] for number in images])
        timesteps = self.timesteps(model, request)
        return Start(noise.initial(model.device) * self.deviation(model, timesteps), timesteps, noise)


@dataclass(frozen=True)
class FromPicture(Origin):
    """SDEdit (Meng et al. 2022, algorithm 1): a picture is noised to somewhere on the way, and denoised from there.

    With a mask it is inpainting: a part of the picture is made anew, and the rest stays.

    Attributes:
        picture: fitted to the model's images.
        strength: how much noise is added, from 0, where nearly the same picture comes back, to 1, where (nearly) nothing is
            left of it.
        mask: of the picture's size, white where it is made anew; black, or transparent, where it stays.
        resamplings: with a mask, see :class:`Known`.
    """

    picture: bytes
    strength: float
    mask: bytes | None = None
    resamplings: int = 1

    def __post_init__(self) -> None:
        _refuse_strength(self.strength)
        if self.resamplings < 1:
            raise ValueError(f"resamplings={self.resamplings}: choose 1 or more")
        if self.mask is not None:
            refuse_other_size(self.picture, self.mask)

    @property
    def reach(self) -> float:
        return self.strength

    def start(self, model: LoadedModel, request: SamplingRequest, images: Sequence[int]) -> Start:
        import torch.nn.functional as F

        from diffusion_core.noise import SeededNoise
        from diffusion_core.process import add_noise

        noise = SeededNoise(request.seed, model.state_shape, images)
        timesteps = self.timesteps(model, request)
        x0 = model.encode(fit_to_model(model, self.picture))
        start = Start(add_noise(model.schedule, x0, noise.initial(model.device), timesteps[0]), timesteps, noise)
        if self.mask is None:
            return start
        # A latent is made anew where any of its pixels is.
        anew = F.adaptive_max_pool2d(self._anew(model).float(), model.state_shape[1:])
        return replace(start, known=Known(x0, 1 - anew, self.resamplings))

    def images(self, model: LoadedModel, x0: Tensor) -> Tensor:
        made = super().images(model, x0)
        if self.mask is None or model.autoencoder is None:
            return made
        # What stays has been through the autoencoder, and a latent that is made anew may hold pixels that are to stay.
        return made.where(self._anew(model), fit_to_model(model, self.picture).to(made))

    def _anew(self, model: LoadedModel) -> Tensor:
        """(1, 1, H, W) bool, where the picture is made anew."""
        import torch

        assert self.mask is not None
        mask = fit_mask(self.picture, self.mask, model.config)
        return torch.from_numpy(mask)[None, None].to(model.device)


@dataclass(frozen=True)
class FromInversion(Origin):
    """The noise that DDIM makes the picture from, where all images of the request start: told the same, it comes back.

    Attributes:
        picture: fitted to the model's images.
        label, prompt: what the picture shows, for models that are told.
        strength: how far it is inverted; with less, more of it stays when the model is told something else.
    """

    picture: bytes
    label: str | None = None
    prompt: str | None = None
    strength: float = 1.0

    def __post_init__(self) -> None:
        _refuse_strength(self.strength)

    @property
    def reach(self) -> float:
        return self.strength

    def start(self, model: LoadedModel, request: SamplingRequest, images: Sequence[int]) -> Start:
        start = super().start(model, request, images)
        [(x, _)] = self._inversions(model, request)
        return replace(start, x=x.expand_as(start.x))

    def _inversions(self, model: LoadedModel, request: SamplingRequest) -> list[tuple[Tensor, int]]:
        shown = replace(request, label=self.label, prompt=() if self.prompt is None else (self.prompt,))
        return [_inverted(model, shown, self.picture, self.timesteps(model, request))]


@dataclass(frozen=True)
class BetweenPictures(Origin):
    """Between the noises that DDIM makes two pictures from (Song et al. 2021, section 5.3).

    Attributes:
        first, second: fitted to the model's images.
        weights: of each image of the request, from 0, the first picture, to 1, the second.
    """

    first: bytes
    second: bytes
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        _refuse_weights(self.weights, "picture")

    def start(self, model: LoadedModel, request: SamplingRequest, images: Sequence[int]) -> Start:
        from diffusion_core.noise import slerp

        start = super().start(model, request, images)
        (first, _), (second, _) = self._inversions(model, request)
        weights = [self.weights[number] for number in images]
        return replace(start, x=slerp(first.expand_as(start.x), second.expand_as(start.x), weights))

    def _inversions(self, model: LoadedModel, request: SamplingRequest) -> list[tuple[Tensor, int]]:
        timesteps = self.timesteps(model, request)
        return [_inverted(model, request, picture, timesteps) for picture in (self.first, self.second)]


def _inverted(model: LoadedModel, request: SamplingRequest, picture: bytes, timesteps: Tensor) -> tuple[Tensor, int]:
    """(1, C, H, W), the state at the first of the timesteps, and its network evaluations; kept for as long as the model is.

    Of the request only what it says of the picture counts: guidance is left out.
    """
    kept = _inversions.setdefault(model, {})
    asked = (request.label, request.prompt, picture, tuple(timesteps.tolist()))
    if asked not in kept:
        kept[asked] = _invert(model, request, picture, timesteps)
    kept[asked] = kept.pop(asked)  # the last one that was asked for
    if len(kept) > INVERSIONS_KEPT:
        del kept[next(iter(kept))]  # the one that was asked for longest ago
    return kept[asked]


def _invert(model: LoadedModel, request: SamplingRequest, picture: bytes, timesteps: Tensor) -> tuple[Tensor, int]:
    from diffusion_core.inversion import invert

    from .prompts import guided_denoiser

    denoise, condition = guided_denoiser(model, replace(request, num_images=1, guidance=1.0, negative_prompt=None), [0])
    x0 = model.encode(fit_to_model(model, picture))
    *_, step = invert(denoise, x0, timesteps, model.schedule, condition)
    return step.x, step.nfe


def _refuse_strength(strength: float) -> None:
    if not 0 <= strength <= 1:
        raise ValueError(f"strength={strength}: choose a number from 0 (keep the picture) to 1 (nothing of it is left)")


def _refuse_weights(weights: Sequence[float], ends: str) -> None:
    if not all(0 <= weight <= 1 for weight in weights):
        raise ValueError(f"weights {list(weights)}: choose numbers from 0 (the first {ends}) to 1 (the second)")
