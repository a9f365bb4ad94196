"""Starting points of sampling: noise, noise interpolated between two seeds, a picture, its inversion, or two pictures.

An :class:`Origin` describes a starting point for any model: noise itself, other ones in its subclasses. It can be compared and
hashed, so that its samples can be cached. For a given model and request it computes the :class:`Start`. Pictures are the bytes
of image files of any format and size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from .fitting import fit_mask, fit_to_model, picture_notes, refuse_other_size
from .inversions import inverted
from .starts import Known, Start

if TYPE_CHECKING:
    from torch import Tensor

    from diffusion_core.noise import InterpolatedNoise, SeededNoise

    from ..models.loading import LoadedModel
    from .request import SamplingRequest

INVERTED = 3.0  # network calls of an inverted step, with its refinements
GRADIENT = 3.0  # work of a network call and the gradient with respect to its input, in network calls


@dataclass(frozen=True)
class Origin:
    """A starting point of sampling, for any model: pure noise of the request's seed here, other ones in subclasses.

    Attributes:
        preparation: what computing it takes, in a few words; empty if it takes no time worth telling.
    """

    preparation: ClassVar[str] = ""

    @property
    def reach(self) -> float:
        """Share of the schedule's length at which sampling starts."""
        return 1.0

    @property
    def from_noise(self) -> bool:
        """Whether the state from which sampling starts is pure noise."""
        return True

    def effort(self, num_images: int) -> float:
        """Return the network's work on this many images, roughly, as a share of that of sampling them from pure noise."""
        return self.reach

    def timesteps(self, model: LoadedModel, request: SamplingRequest) -> Tensor:
        """Return the request's timesteps within :attr:`reach`, descending, after the one at which it ends."""
        import torch

        from diffusion_core.schedules import sampling_timesteps

        if learned := request.learned_timesteps(model.run):
            timesteps = torch.tensor(learned, dtype=torch.float64)
        else:
            timesteps = sampling_timesteps(model.schedule, request.steps, request.spacing)
        if self.reach == 1:
            return timesteps
        start = max(0.0, round(self.reach * model.schedule.num_timesteps - 1, 6))
        return torch.cat([timesteps.new_tensor([start]), timesteps[timesteps < start]])

    def notes(self) -> list[str]:
        """Return notices to the user on how pictures are read, one sentence each."""
        pictures = [getattr(self, field.name) for field in fields(self) if field.name != "mask"]
        return [note for picture in pictures if isinstance(picture, bytes) for note in picture_notes(picture)]

    def start(self, model: LoadedModel, request: SamplingRequest, images: Sequence[int]) -> Start:
        """Compute the state from which to sample.

        Args:
            images: image numbers of the request.

        Raises:
            ValueError: the model cannot start from there.
        """
        noise, timesteps = self._noise(model, request, images), self.timesteps(model, request)
        return Start(noise.initial(model.device) * self.deviation(model, timesteps), timesteps, noise)

    def _noise(self, model: LoadedModel, request: SamplingRequest, images: Sequence[int]) -> SeededNoise | InterpolatedNoise:
        """Return the noise to start from and to add on the way."""
        from diffusion_core.noise import SeededNoise

        return SeededNoise(request.seed, model.state_shape, images)

    def nfe(self, model: LoadedModel, request: SamplingRequest) -> int:
        """Return the number of network evaluations that the starting point takes, once for any number of images.

        They are counted while they are made: calling this before :meth:`start` computes the starting point.
        """
        return sum(nfe for _, nfe in self._inversions(model, request))

    def most_at_once(self, model: LoadedModel) -> int:
        """Return the number of images that the device's memory may hold at once, roughly."""
        return model.most_at_once

    def images(self, model: LoadedModel, x0: Tensor) -> Tensor:
        """Convert samples from this origin, or estimates of them, to images, (B, C, H, W) in [−1, 1]."""
        return model.decode(x0)

    def _inversions(self, model: LoadedModel, request: SamplingRequest) -> list[tuple[Tensor, int]]:
        """Return the inversion of each picture that is inverted; see :func:`pipelines.sampling.inversions.inverted`."""
        return []

    def deviation(self, model: LoadedModel, timesteps: Tensor) -> float:
        """Return the standard deviation of states at the first timestep, for data with a variance of 1.

        It is 1 for variance-preserving schedules, and at the end of every schedule; leading spacing starts before the end.
        """
        alpha, sigma = model.schedule.at(timesteps[0])
        return float(alpha.square().add(sigma.square()).sqrt())

    @property
    def about(self) -> dict[str, Any]:
        """Its settings for the metadata of images, with a digest in place of each picture."""
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        told = {name: _digest(value) if isinstance(value, bytes) else value for name, value in settings.items()}
        return {"kind": type(self).__name__} | told


def _digest(picture: bytes) -> str:
    return hashlib.sha256(picture).hexdigest()[:16]


FROM_NOISE = Origin()


@dataclass(frozen=True)
class BetweenSeeds(Origin):
    """Noise interpolated between the request's seed and another one.

    Attributes:
        other_seed: the other seed.
        weights: of each image of the request, from 0 (the request's seed) to 1 (the other one).
        image: number of the image whose noise is used, for both seeds.
    """

    other_seed: int
    weights: tuple[float, ...]
    image: int = 0

    def __post_init__(self) -> None:
        _refuse_weights(self.weights, "seed")

    def _noise(self, model: LoadedModel, request: SamplingRequest, images: Sequence[int]) -> InterpolatedNoise:
        from diffusion_core.noise import InterpolatedNoise, SeededNoise

        drawn = [self.image] * len(images)
        first, second = (SeededNoise(seed, model.state_shape, drawn) for seed in (request.seed, self.other_seed))
        return InterpolatedNoise(first, second, [self.weights[number] for number in images])


class _OfPictures(Origin):
    """A starting point made from pictures, which may themselves have been sampled from the request's seed."""

    @property
    def from_noise(self) -> bool:
        return False

    def _noise(self, model: LoadedModel, request: SamplingRequest, images: Sequence[int]) -> SeededNoise:
        from diffusion_core.noise import ForwardNoise

        return ForwardNoise(request.seed, model.state_shape, images)


@dataclass(frozen=True)
class FromPicture(_OfPictures):
    """SDEdit (Meng et al. 2022, algorithm 1): a picture is noised to an intermediate timestep and denoised from there.

    With a mask it is inpainting: a part of the picture is regenerated, and the rest is kept.

    Attributes:
        picture: image file, fitted to the model's images.
        strength: how much noise is added, from 0 (nearly the same picture is returned) to 1 (almost nothing of it is left).
        mask: image file of the same size, white in the area to inpaint; black or transparent parts are kept.
        resamplings, guided: with a mask, see :class:`Known`.
    """

    picture: bytes
    strength: float
    mask: bytes | None = None
    resamplings: int = 1
    guided: bool = False

    def __post_init__(self) -> None:
        _refuse_strength(self.strength)
        if self.resamplings < 1:
            raise ValueError(f"resamplings={self.resamplings}: choose 1 or more")
        if self.mask is not None:
            refuse_other_size(self.picture, self.mask)

    @property
    def reach(self) -> float:
        return self.strength

    def effort(self, num_images: int) -> float:
        return self.strength * (GRADIENT if self.guided else self.resamplings)

    def start(self, model: LoadedModel, request: SamplingRequest, images: Sequence[int]) -> Start:
        import torch.nn.functional as F

        from diffusion_core.process import add_noise

        noise, timesteps = self._noise(model, request, images), self.timesteps(model, request)
        x0 = model.encode(fit_to_model(model, self.picture))
        start = Start(add_noise(model.schedule, x0, noise.initial(model.device), timesteps[0]), timesteps, noise)
        if self.mask is None:
            return start
        # A latent is regenerated if any of its pixels is.
        anew = F.adaptive_max_pool2d(self._anew(model).float(), model.state_shape[1:])
        return replace(start, known=Known(x0, 1 - anew, self.resamplings, self.guided))

    def most_at_once(self, model: LoadedModel) -> int:
        # The gradient needs the activations of all layers: 1.7 times the estimate for sampling in float32.
        return super().most_at_once(model) // (2 if self.guided else 1)

    def images(self, model: LoadedModel, x0: Tensor) -> Tensor:
        made = super().images(model, x0)
        if self.mask is None or model.autoencoder is None:
            return made
        # The autoencoder has changed the pixels to keep, and some of them may belong to regenerated latents.
        return made.where(self._anew(model), fit_to_model(model, self.picture).to(made))

    def _anew(self, model: LoadedModel) -> Tensor:
        """Return the area to inpaint, (1, 1, H, W) bool."""
        import torch

        assert self.mask is not None
        mask = fit_mask(self.picture, self.mask, model.config)
        return torch.from_numpy(mask)[None, None].to(model.device)


@dataclass(frozen=True)
class FromInversion(_OfPictures):
    """DDIM inversion: the noise from which DDIM generates the picture; with the same condition, the picture is returned.

    All images of the request start from the same noise.

    Attributes:
        picture: image file, fitted to the model's images.
        label, prompt: the picture's class or description, for conditional models.
        strength: how far it is inverted; the lower, the more of the picture is kept under another condition.
    """

    preparation = "Inverting the picture"
    picture: bytes
    label: str | None = None
    prompt: str | None = None
    strength: float = 1.0

    def __post_init__(self) -> None:
        _refuse_strength(self.strength)

    @property
    def reach(self) -> float:
        return self.strength

    def effort(self, num_images: int) -> float:
        return self.strength * (1 + INVERTED / num_images)  # the picture is inverted first

    def start(self, model: LoadedModel, request: SamplingRequest, images: Sequence[int]) -> Start:
        start = super().start(model, request, images)
        [(x, _)] = self._inversions(model, request)
        return replace(start, x=x.expand_as(start.x))

    def _inversions(self, model: LoadedModel, request: SamplingRequest) -> list[tuple[Tensor, int]]:
        shown = replace(request, label=self.label, prompt=() if self.prompt is None else (self.prompt,))
        return [inverted(model, shown, self.picture, self.timesteps(model, request))]


@dataclass(frozen=True)
class BetweenPictures(_OfPictures):
    """Interpolation between the DDIM inversions of two pictures (Song et al. 2021, section 5.3).

    Attributes:
        first, second: image files, fitted to the model's images.
        weights: of each image of the request, from 0 (the first picture) to 1 (the second).
    """

    preparation = "Inverting both pictures"
    first: bytes
    second: bytes
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        _refuse_weights(self.weights, "picture")

    def effort(self, num_images: int) -> float:
        return 1 + 2 * INVERTED / num_images  # both pictures are inverted first

    def start(self, model: LoadedModel, request: SamplingRequest, images: Sequence[int]) -> Start:
        from diffusion_core.noise import slerp

        start = super().start(model, request, images)
        (first, _), (second, _) = self._inversions(model, request)
        weights = [self.weights[number] for number in images]
        return replace(start, x=slerp(first.expand_as(start.x), second.expand_as(start.x), weights))

    def _inversions(self, model: LoadedModel, request: SamplingRequest) -> list[tuple[Tensor, int]]:
        timesteps = self.timesteps(model, request)
        return [inverted(model, request, picture, timesteps) for picture in (self.first, self.second)]


def _refuse_strength(strength: float) -> None:
    if not 0 <= strength <= 1:
        raise ValueError(f"strength={strength}: choose a number from 0 (keep the picture) to 1 (replace it)")


def _refuse_weights(weights: Sequence[float], ends: str) -> None:
    if not all(0 <= weight <= 1 for weight in weights):
        raise ValueError(f"weights {list(weights)}: choose numbers from 0 (the first {ends}) to 1 (the second)")
