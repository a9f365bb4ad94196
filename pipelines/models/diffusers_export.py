"""Export of a run's U-Net and schedule to diffusers, and the model class that reads the export."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    ConfigMixin,
    DDIMScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    ModelMixin,
    SchedulerMixin,
    UNet2DModel,
)
from diffusers import __version__ as version
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn

from diffusion_core.condition import Condition
from diffusion_core.schedules import make_schedule

from ..storage.config import ImportedProcess, config_from_json
from ..storage.files import write_text
from ..storage.run import Run
from .foreign.diffusers_scheduler import PREDICTIONS
from .foreign.networks import ImportedAutoencoder, ImportedUNet
from .latents import read_autoencoder
from .loading import LoadedModel
from .networks import make_network

NOTHING: Mapping[str, Any] = MappingProxyType({})
WRITTEN = {ours: theirs for theirs, ours in PREDICTIONS.items()}


class ExportedUNet(ModelMixin, ConfigMixin):
    """A run's U-Net as a diffusers model: ``ExportedUNet.from_pretrained(FOLDER / "unet")`` reads an export.

    Args:
        sample_size, in_channels: of the states it denoises, (B, in_channels, sample_size, sample_size).
        run: the run's configuration, as in its config.json.
        first_timestep: the scheduler's number for our timestep 0.
    """

    @register_to_config
    def __init__(self, sample_size: int, in_channels: int, run: dict[str, Any], first_timestep: int = 0) -> None:
        super().__init__()
        self.first_timestep = first_timestep
        self.network = make_network(config_from_json(json.dumps(run), "the exported run"), seed=0)

    def forward(
        self,
        sample: Tensor,
        timestep: float | Tensor,
        class_labels: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[Tensor]:
        """Return the network's prediction for ``sample``, (B, C, H, W); arguments are named as in diffusers.

        Args:
            timestep: one for all, or (B,), in the scheduler's numbering.
            class_labels: (B,) class numbers for a class-conditional network; None for the null class.
            encoder_hidden_states, encoder_attention_mask: (B, L, D) and (B, L), for a text-conditional network.
            return_dict: return a UNet2DOutput instead of a tuple.
        """
        t = torch.as_tensor(timestep, device=sample.device, dtype=torch.float32).reshape(-1) - self.first_timestep
        condition = None
        if class_labels is not None or encoder_hidden_states is not None:
            mask = encoder_attention_mask
            if encoder_hidden_states is not None and mask is None:
                mask = torch.ones(encoder_hidden_states.shape[:2], device=sample.device)
            condition = Condition(class_labels, encoder_hidden_states, None if mask is None else mask.bool())
        prediction = self.network(sample, t, condition)
        return UNet2DOutput(sample=prediction) if return_dict else (prediction,)


def export_model(model: LoadedModel, folder: Path) -> list[str]:
    """Write a model's network to ``folder/unet`` and its schedule to ``folder/scheduler``, as ``save_pretrained`` does.

    A network that was imported from diffusers is written as the UNet2DModel that it is, with any AutoencoderKL in
    ``folder/vae``. The networks of Noisescope have no equivalent in diffusers, whose residual blocks have two norms and two
    activations; they are written as an :class:`ExportedUNet`.

    Returns:
        One sentence each on what was written and who can read it.

    Raises:
        ValueError: diffusers has no such network, schedule or prediction, or could not tell the network its number of calls.
    """
    student = model.config.distillation
    if student is not None and student.varies:
        raise ValueError(
            f"{model.name} is a student in {student.in_words}, whose network is told the number of steps, which no pipeline of "
            f"diffusers does: distil {student.teacher} with a single number of --calls, and export that student"
        )
    network = model.denoiser.network
    made = scheduler(model)
    if isinstance(network, ImportedUNet):
        told = _write_theirs(model, network, made, folder)
    elif model.config.network.imported:
        raise ValueError(
            f"{model.name} has a {model.config.network.title}, which diffusers does not have: use the file it was imported from"
        )
    else:
        channels, side, _ = model.state_shape
        # diffusers' flow-matching timestep is 1000·sigma, and sigma is a thousandth at our timestep 0.
        unet = ExportedUNet(side, channels, asdict(model.config), int(model.config.diffusion.prediction == "flow"))
        unet.network.load_state_dict(network.state_dict())
        unet.save_pretrained(folder / "unet")
        told = [
            f"diffusers has no equivalent of Noisescope's {model.config.network.title}, whose residual blocks have one norm "
            "and one activation: the UNet is read by pipelines.models.diffusers_export.ExportedUNet, and needs Noisescope"
        ]
        if model.autoencoder is not None:
            told.append("the U-Net denoises latents, and their autoencoder is not exported")
    if student is not None:
        fresh = f" with eta={student.eta:g}" if student.eta else ""
        told.append(
            f"it is a student: sample it with {student.in_words} of DDIM{fresh}, at the timesteps "
            f"{student.timesteps_in_words}, and no others"
        )
    made.save_pretrained(folder / "scheduler")
    return [*told, f"the scheduler is a {type(made).__name__}"]


def export_autoencoder(run: Run, folder: Path) -> list[str]:
    """Write an autoencoder imported from diffusers to ``folder/vae``; see :func:`export_model`."""
    autoencoder, network = read_autoencoder(run)
    if not isinstance(autoencoder, ImportedAutoencoder):
        raise ValueError(
            f"{run.name} is an autoencoder of Noisescope, of which diffusers has no equivalent: only autoencoders that were "
            "imported from diffusers can be exported"
        )
    _save(AutoencoderKL, network.settings, autoencoder.vae, folder / "vae")
    return ["diffusers alone reads the AutoencoderKL, in vae"]


def _write_theirs(model: LoadedModel, network: ImportedUNet, made: SchedulerMixin, folder: Path) -> list[str]:
    """Write a network of diffusers, any autoencoder, and the index of a pipeline if there is one that can run them."""
    names = {"null_class": model.config.network.null_class} if network.conditional else {}
    classes = list(model.config.condition.classes)
    if network.null_class is not None:
        classes.insert(network.null_class, "none")
    labels = {"id2label": dict(enumerate(classes))} if network.conditional else {}
    _save(UNet2DModel, model.config.network.settings, network.unet, folder / "unet", labels | names)
    told = ["diffusers alone reads the UNet2DModel, in unet, and its scheduler"]
    if isinstance(model.autoencoder, ImportedAutoencoder):
        assert model.config.latent.latent_network is not None
        _save(AutoencoderKL, model.config.latent.latent_network.settings, model.autoencoder.vae, folder / "vae")
        return [*told, "the AutoencoderKL of its latents is in vae"]
    if network.conditional:
        return [*told, "call the network with class_labels: diffusers has no pipeline that does"]
    if model.config.diffusion.prediction == "edm":
        return [*told, "call the scheduler's scale_model_input before the network: diffusers has no pipeline that does"]
    kind = "DDIMPipeline" if isinstance(made, DDIMScheduler) else "DDPMPipeline"
    index = {"_class_name": kind, "_diffusers_version": version, "scheduler": ["diffusers", type(made).__name__]}
    write_text(folder / "model_index.json", json.dumps(index | {"unet": ["diffusers", "UNet2DModel"]}, indent=2) + "\n")
    return [*told, f"as a whole, the folder is a {kind}: DiffusionPipeline.from_pretrained(FOLDER) reads it"]


def _save(kind: Any, settings: Mapping[str, Any], network: nn.Module, folder: Path, more: Mapping[str, Any] = NOTHING) -> None:
    """Write a network of diffusers as ``save_pretrained`` does, with more keys in its config."""
    made = kind.from_config(dict(settings))
    made.load_state_dict(network.state_dict())
    made.register_to_config(**more)
    made.save_pretrained(folder)


def scheduler(model: LoadedModel) -> SchedulerMixin:
    """Return the model's noise schedule as a diffusers scheduler.

    Raises:
        ValueError: diffusers has no such schedule or prediction.
    """
    schedule, config = model.schedule, model.config.diffusion
    straight = make_schedule("flow", schedule.num_timesteps, noise_shift=config.noise_shift)
    if config.prediction == "flow" and schedule.sigma.allclose(straight.sigma) and schedule.alpha.allclose(straight.alpha):
        imported = isinstance(model.denoiser.network, ImportedUNet)
        told = config.imported is not None and config.imported.time == "sigma"
        if imported == told and (told or config.noise_shift == 1):
            return FlowMatchEulerDiscreteScheduler(num_train_timesteps=schedule.num_timesteps, shift=config.noise_shift)
    asked, bounds = config.imported or ImportedProcess(), model.denoiser.data_range
    kept = schedule.alpha.square()  # alphas_cumprod
    if asked.time == "c_noise":
        return _edm(model)
    if config.prediction not in WRITTEN or not (kept + schedule.sigma.square()).allclose(kept.new_ones(()), atol=1e-6):
        raise ValueError(
            f"{model.name} predicts {config.prediction} on the schedule {config.schedule_name}: diffusers supports "
            f"{', '.join(WRITTEN)} on variance-preserving schedules, alpha² + sigma² = 1, and flow on the schedule flow "
            "without a noise shift"
        )
    quantile, most = asked.thresholding or (0.995, 1.0)
    return DDIMScheduler(
        num_train_timesteps=schedule.num_timesteps,
        trained_betas=schedule.betas.tolist(),
        prediction_type=WRITTEN[config.prediction],
        clip_sample=bounds is not None and asked.thresholding is None,
        clip_sample_range=1.0 if bounds is None else bounds[1],
        thresholding=asked.thresholding is not None,
        dynamic_thresholding_ratio=quantile,
        sample_max_value=most,
        timestep_spacing="trailing",
    )


def _edm(model: LoadedModel) -> EDMEulerScheduler:
    """Return EDM's noise levels as a scheduler of diffusers.

    Raises:
        ValueError: it has no such levels.
    """
    levels = (model.schedule.sigma / model.schedule.alpha).flip(0)
    for kind in ("karras", "exponential"):
        low, high = levels[-1].item(), levels[0].item()
        made = EDMEulerScheduler(low, high, sigma_schedule=kind, num_train_timesteps=len(levels) - 1)
        if made.sigmas[:-1].double().allclose(levels, rtol=1e-3):
            return made
    raise ValueError(
        f"{model.name} has noise levels that diffusers' EDMEulerScheduler does not have: use the folder it came from"
    )
