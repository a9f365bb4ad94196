"""Measurements of a model: its loss by noise level, a bound on the likelihood, how realistic its samples are, and how
realistic the autoencoder's reconstructions are."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion_core.likelihood import BoundTerm, variational_bound
from diffusion_core.noise import SeededNoise
from diffusion_core.process import add_noise
from diffusion_core.schedules import make_schedule

from ..common.devices import hardware, process_state
from ..common.finite import refuse_not_finite
from ..common.images import Pixels, montage, png_bytes, to_uint8
from ..common.memory import TensorMemory, weight_bytes
from ..common.reports import ProgressBar, report_progress, tracked
from ..common.threads import threads_for_matrices
from ..common.together import gathered, own_share
from ..models.compiled import compile_calls, is_compiled
from ..sampling.request import SamplingRequest
from ..sampling.sample import sample
from ..storage.files import atomic
from .brief import file_beside
from .distances import ENOUGH, Features, closer_than_held_out, nearest, recall_estimate, within
from .diversity import LEAST, density_and_coverage, vendi_estimate
from .intervals import Estimate
from .kept_features import keep_features
from .measured import way_in_words
from .real_images import AT_ONCE, RealImages
from .results import LOSS_BINS, NEIGHBOURS_PICTURE, loss_draws, noise_bins

if TYPE_CHECKING:
    from diffusion_core.condition import Condition

    from ..models.loading import LoadedModel

PAIRS = 12  # largest number of samples shown with their nearest training image
ACROSS = 512  # largest width of that picture in pixels


@torch.no_grad()
def errors_in_v(model: LoadedModel, x0: Tensor, noise: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
    """Return |x0 − x̂0|²·(1 + SNR) per image, (B,) float64 on the CPU: the error in v of a variance-preserving schedule.

    Args:
        x0, noise: (B, C, H, W).
        t: one timestep for all, (1,), or one per image, (B,), on the CPU; may be fractional.
    """
    estimate = model.denoiser.unclipped(add_noise(model.schedule, x0, noise, t), t.to(model.device), condition)
    alpha, sigma = model.schedule.at(t)
    return ((estimate - x0).square().flatten(1).mean(1).cpu() * (1 + (alpha / sigma).square())).double()


def loss_by_noise_level(model: LoadedModel, real: RealImages, seed: int, batch_size: int) -> dict[str, Any]:
    """Measure the mean of |x0 − x̂0|²·(1 + SNR), the error in v, in equal ranges of timesteps of a cosine schedule.

    Models with different predictions and schedules can be compared, because each is evaluated at those of its own timesteps
    that have the same signal-to-noise ratios.
    """
    levels, drawn = loss_draws(len(real.held_out), seed)
    log_snr = make_schedule("cosine").log_snr
    t = model.schedule.timesteps_at(log_snr[torch.from_numpy((levels * len(log_snr)).astype(np.int64))]).float()
    errors = []
    for part in own_share(torch.arange(len(levels)).split(batch_size)):
        images = torch.from_numpy(drawn)[part]
        x0 = model.encode(real.as_input(real.held_out, images.tolist()))
        noise = SeededNoise(seed, model.state_shape, part.tolist()).initial(model.device)
        when = t[part]
        condition = None if real.conditions is None else real.conditions.of(images).to(model.device)
        errors.append(errors_in_v(model, x0, noise, when, condition).numpy())
    values = np.concatenate(gathered(errors))
    refuse_not_finite(torch.from_numpy(values), model.name, "on noisy held-out images")
    bin_of = noise_bins(levels)
    parts = [Estimate.of_mean(values[bin_of == number]) for number in range(LOSS_BINS)]
    return {
        "timesteps": ((np.arange(LOSS_BINS) + 0.5) / LOSS_BINS * len(log_snr)).tolist(),
        "mean": [part.value for part in parts],
        "low": [part.low for part in parts],
        "high": [part.high for part in parts],
        "whole": asdict(Estimate.of_strata(values, bin_of, drawn)),
        "errors": values.round(5).tolist(),  # in order, to be paired with another model's errors on the same draws
    }


def likelihood(model: LoadedModel, real: RealImages, count: int, levels: int, seed: int, batch_size: int) -> dict[str, Any]:
    """Measure the variational bound of held-out images in bits per dimension: its terms, and an interval over images.

    Dimensions are the pixel values that differ between training images. Others, such as the frame of padded images, cost next
    to no bits, and counting them would make the bound look smaller.
    """
    parts = own_share(torch.arange(count).split(batch_size))
    first = real.train.images[:1]
    differing = torch.stack([(images != first).any(0) for images in real.train.images.split(AT_ONCE)])
    dimensions = int(differing.any(0).sum())
    terms: list[list[BoundTerm]] = []
    with ProgressBar(f"{model.name}, likelihood", len(parts) * (levels + 2), "term", leave=False) as bar:
        for part in parts:
            x0 = real.as_input(real.held_out, part.tolist()).to(model.device)
            noise = SeededNoise(seed, model.image_shape, part.tolist())
            condition = None if real.conditions is None else real.conditions.of(part).to(model.device)
            terms.append([])
            for term in variational_bound(model.denoiser, x0, model.schedule, condition, noise=noise, levels=levels):
                terms[-1].append(term)
                bar.update()
    terms = gathered(terms)
    bits = torch.cat([torch.stack([term.bits for term in own]) for own in terms], dim=1) / dimensions  # (terms, images)
    refuse_not_finite(bits, model.name, "in the bound on the likelihood")
    prior, *denoising, decoder = bits.mean(1).tolist()
    return {
        "total": asdict(Estimate.of_mean(bits.sum(0).numpy())),
        "prior": prior,
        "denoising": denoising,
        "decoder": decoder,
        "log_snr": [term.log_snr for term in terms[0]],
        "dimensions": dimensions,
        "images": bits.sum(0).tolist(),  # in order, to be paired with another model's
    }


def measure_samples(
    model: LoadedModel,
    real: RealImages,
    request: SamplingRequest,
    asked: Mapping[str, Any],
    batch_size: int,
    compiled: bool = False,
) -> dict[str, Any]:
    """Generate samples and measure them; memory is measured with a single image.

    Samples of a conditional network have the conditions of the held-out images, in order.

    Args:
        asked: the settings of the measurement (:attr:`Result.asked`), under which the features are kept.
        compiled: compile the network's calls first.
    """
    if compiled:
        compile_calls(model.denoiser.network, min(batch_size, request.num_images))
    batches = []
    chunks = own_share(torch.arange(request.num_images).split(batch_size))
    told = f"{model.name}, {way_in_words(asdict(request))}"
    for numbers in chunks[:1]:  # what is done only once, such as compiling, is no time of the images
        next(sample(model, request, numbers.tolist(), condition=real.shown(numbers.tolist())))
    for numbers in tracked(chunks, told, "batch"):
        before = time.perf_counter()
        *_, last = sample(model, request, numbers.tolist(), condition=real.shown(numbers.tolist()))
        images = model.decode(last.x).cpu()
        seconds = time.perf_counter() - before
        batches.append((seconds, last.nfe, to_uint8(images), real.judge.features(images), real.judge.classes(images)))
    report_progress(f"{told}: comparing with real images")
    all_seconds, calls, pictures, seen, classes = zip(*gathered(batches), strict=True)
    features = np.concatenate(seen)
    memory = TensorMemory()
    with memory:
        *_, alone = sample(model, replace(request, num_images=1), [0], condition=real.shown([0]))
        model.decode(alone.x)
    if process_state().is_main_process:
        write_neighbours(model, real, np.concatenate(pictures), features)
        keep_features(model.fingerprint, asked, features, real.reference)
    classifier = real.judge.classifier
    known = None if classifier is None else np.concatenate(classes)
    return {
        "network_calls": calls[-1],
        "seconds": sum(all_seconds) / request.num_images,
        "machine": hardware(model.device) + (", compiled" if is_compiled(model.denoiser.network) else ""),
        "memory": sum(map(weight_bytes, model.modules)) + memory.peak,
        "figures": figures(features, real, real.recognised(known)),
        "classes": None if known is None or classifier is None else {"names": classifier.classes, "seen": known.tolist()},
    }


def measure_floor(real: RealImages, count: int) -> dict[str, Any]:
    """Measure held-out images in the same way as samples: what real images score against real ones."""
    return {"figures": figures(real.held_out_features[:count], real)}


def measure_reconstructions(model: LoadedModel, real: RealImages, count: int, batch_size: int) -> dict[str, Any]:
    """Measure the autoencoder's reconstructions of held-out images in the same way as samples.

    No diffusion model of the latents can restore what the autoencoder loses (R-FID in Rombach et al. 2022, Table 8).
    """
    seen = []
    for part in own_share(torch.arange(count).split(batch_size)):
        decoded = model.decode(model.encode(real.as_input(real.held_out, part.tolist()))).cpu()
        seen.append(real.judge.features(decoded))
    return {"figures": figures(np.concatenate(gathered(seen)), real)}


def figures(features: Features, real: RealImages, right: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    """Compute all figures of a set of images, with intervals, and with the parts that another model's are paired with.

    Args:
        features: (N, D) of the images.
        real: the images to compare them with.
        right: (N,) whether the classifier recognises the requested class; None if it cannot be judged.
    """
    with threads_for_matrices(features.shape[1]):
        return _figures(features, real, right)


def _figures(features: Features, real: RealImages, right: NDArray[np.bool_] | None) -> dict[str, Any]:
    count, reference = len(features), real.reference
    some = reference.thinned(max(ENOUGH, count))
    halved = {
        "frechet_distance": reference.frechet_estimate(features),
        "kernel_distance": some.kernel_estimate(features),
    }
    found = {name: asdict(estimate) | {"halves": _rounded(halves)} for name, (estimate, halves) in halved.items()}
    cases = {
        "closer_than_held_out": closer_than_held_out(features, reference, real.newness[:count]),
        "precision": within(features, some.features),
    }
    cases |= {} if right is None else {"agreement": right}
    for name, values in cases.items():
        found[name] = asdict(Estimate.of_share(values.mean(), count)) | {"cases": "".join("01"[int(value)] for value in values)}
    recall, subsets = recall_estimate(features, some.features)
    found["recall"] = asdict(recall) | {"subsets": _rounded(subsets)}
    (density, near), (coverage, alone) = density_and_coverage(features, some.features)
    found["density"] = asdict(density) | {"values": _rounded(near)}
    found["coverage"] = asdict(coverage) | {"alone": _rounded(alone)}
    if count >= LEAST:
        vendi, without_blocks = vendi_estimate(features)
        found["vendi_score"] = asdict(vendi) | {"blocks": _rounded(without_blocks)}
    if at_infinity := reference.frechet_at_infinity(features, halved["frechet_distance"][1]):
        found["frechet_at_infinity"] = asdict(at_infinity)
    return found


def _rounded(values: Features) -> Any:
    """Return values with four digits, as lists: their spread is what counts."""
    return np.vectorize(lambda value: float(f"{value:.4g}"))(values).tolist()


def write_neighbours(model: LoadedModel, real: RealImages, samples: Pixels, features: Features) -> None:
    """Write an image beside the weights: the samples closest to training images, each above its nearest neighbour."""
    numbers, distances = nearest(features, real.reference.features)
    closest = distances.argsort()[: max(1, min(PAIRS, ACROSS // samples.shape[2]))]
    training = real.as_input(real.train, real.rows[numbers[closest]].tolist())
    pairs = np.concatenate([samples[closest], to_uint8(training)])
    with atomic(file_beside(model.run, NEIGHBOURS_PICTURE)) as temporary:
        temporary.write_bytes(png_bytes(montage(pairs, len(closest))))
