"""Configuration of a run, as frozen dataclasses that JSON stores and restores unchanged.

The same dataclasses define the command line of ``pipelines.train``: a field is a flag, and its docstring is the help text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, Literal, get_type_hints

from tyro.conf import Suppress

from diffusion_core.choices import NORMS, PREDICTIONS, SCHEDULES, WEIGHTINGS
from unets.choices import NETWORKS

from ..common.settings import Between, Settings, one_of, require, settings_from, some_of
from .presets import PRESETS

FORMAT = 1  # of config.json; a file that does not state its format has format 1
IMPORTED = "diffusers"  # ``unet`` of a network trained by diffusers
MOST_LEVELS = 8


def find_class(names: Sequence[str], wanted: str) -> int | None:
    """Return the number of a class, given its name or one of its synonyms separated by commas, in any case."""
    wanted = wanted.strip().casefold()
    folded = [name.casefold() for name in names]
    synonyms = (number for number, name in enumerate(folded) if wanted in re.split(r"\s*,\s*", name))
    return folded.index(wanted) if wanted in folded else next(synonyms, None)


@dataclass(frozen=True)
class NetworkConfig(Settings):
    """The denoising network."""

    unet: Annotated[str, *one_of(NETWORKS)] = "baseline"
    """Kind of network."""
    channels: Annotated[tuple[int, ...], Between(1, 4096)] = (64, 128, 128)
    """Number of channels at each level, finest first; each further level halves the side."""
    blocks_per_level: Annotated[int, Between(1, 32)] = 1
    """Residual blocks per level, on the way down and on the way up."""
    attention_levels: Annotated[tuple[int, ...] | None, Between(0, MOST_LEVELS - 1)] = None
    """Levels with self-attention, 0 being the finest; only the coarsest by default. For networks with attention only."""
    dropout: Annotated[float, Between(0.0, 1.0, below=True)] = 0.0
    """Dropout probability in residual blocks; reduces overfitting when there are few images."""
    patch_size: Annotated[int, Between(1, 16)] = 1
    """Side of the square patches that the network processes as one pixel: with 2, a 64×64 image costs as much as 32×32. Not for
    autoencoders."""
    settings: Annotated[dict[str, Any], Suppress] = field(default_factory=dict)
    """Settings of an imported network (``unet`` "diffusers"), under their names in diffusers."""

    def __post_init__(self) -> None:
        if not self.imported:
            super().__post_init__()
            require(
                1 <= len(self.channels) <= MOST_LEVELS,
                f"channels={self.channels}: give the widths of 1 to {MOST_LEVELS} levels",
            )
            require(
                not self.attention_levels or NETWORKS[self.unet].attention,
                f"attention_levels={self.attention_levels} is for networks with attention: leave it out with {self.unet}",
            )
            require(
                max(self.attention_levels or (0,)) < len(self.channels),
                f"attention_levels={self.attention_levels}: this network has levels 0 … {len(self.channels) - 1}",
            )

    @property
    def takes(self) -> Literal["class", "text"] | None:
        """Type of the network's condition; None if it is unconditional."""
        return None if self.imported else NETWORKS[self.unet].takes

    @property
    def conditional(self) -> bool:
        """Whether the network is conditional."""
        return self.takes is not None

    @property
    def imported(self) -> bool:
        """Whether the network was trained by diffusers."""
        return self.unet == IMPORTED and bool(self.settings)

    @property
    def title(self) -> str:
        """Name of the network for display."""
        return "Diffusers U-Net" if self.imported else NETWORKS[self.unet].title

    def options(self, image_channels: int) -> dict[str, Any]:
        """Return the keyword arguments of the network's class."""
        options: dict[str, Any] = {
            "image_channels": image_channels,
            "channels": self.channels,
            "blocks_per_level": self.blocks_per_level,
            "dropout": self.dropout,
            "patch_size": self.patch_size,
        }
        if self.attention_levels is not None and NETWORKS[self.unet].attention:
            options["attention_levels"] = self.attention_levels
        return options


@dataclass(frozen=True)
class DiffusionConfig(Settings):
    """The forward process and the objective; the defaults did best in our experiments (benchmarks/README.md)."""

    schedule: Annotated[str, *one_of(SCHEDULES)] = "flow"
    """Noise schedule."""
    timesteps: Annotated[int, Between(1, 100_000)] = 1000
    """Length T of the schedule."""
    zero_terminal_snr: bool = False
    """Rescale the schedule so that its last timestep is pure noise."""
    prediction: Annotated[str, *one_of(PREDICTIONS)] = "flow"
    """Quantity that the network predicts."""
    loss: Annotated[str, *one_of(NORMS)] = "mse"
    """Loss between prediction and target."""
    weighting: Annotated[str, *one_of(WEIGHTINGS)] = "uniform"
    """Weight of each timestep in the loss."""
    min_snr_gamma: Annotated[float, Between(0.0, above=True)] = 5.0
    """γ of min-SNR weighting."""
    noise_shift: Annotated[float, Between(0.0, above=True)] = 1.0
    """Factor of sigma/alpha; large images need more noise (side/64, say)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        in_noise = self.zero_terminal_snr or SCHEDULES[self.schedule].ends_in_noise
        require(
            not (in_noise and PREDICTIONS[self.prediction].needs_signal),
            f"{self.prediction}-prediction cannot start from pure noise: choose the prediction v, x0 or flow, or a schedule "
            "that does not end in pure noise, such as cosine without zero_terminal_snr",
        )


@dataclass(frozen=True)
class DataConfig(Settings):
    """The images."""

    data: Annotated[str, some_of(PRESETS)] = "fashion_mnist"
    """A short name, a hub id, or a local folder."""
    image_size: Annotated[int | None, Between(4, 1024)] = None
    """Side in pixels. By default that of the run to start from or of the latents to diffuse, else the dataset's own default,
    else 64."""
    fit: Literal["crop", "pad"] | None = None
    """crop: resize the shorter side and cut out the middle; pad: surround smaller images with black. Crop by default."""
    flip: bool | None = None
    """Mirror half of the training images left-right. On by default, except for datasets that it would change."""
    image_column: str | None = None
    """Name of the image column; detected by its type by default."""
    train_split: str = "train"
    """Split to train on."""
    held_out_images: Annotated[int, Between(1, 1_000_000)] = 1024
    """Images of the test or validation split (or, without one, of the training split) for the validation loss."""
    augment: Annotated[float, Between(0.0, 1.0)] = 0.0
    """Probability of each flip, scaling, rotation, stretch and shift of a training image. The network is conditioned on them,
    so that samples show none. Helps with few images (0.12 in Karras et al. 2022)."""
    only_classes: tuple[str, ...] = ()
    """Names of the classes to use; all by default."""


@dataclass(frozen=True)
class ConditionConfig(Settings):
    """Conditions of the images, for class- and text-conditional networks."""

    condition_dropout: Annotated[float, Between(0.0, 1.0, below=True)] = 0.1
    """Fraction of training images whose condition is dropped, so that the network learns unconditional denoising too."""
    label_column: str | None = None
    """Name of the column of classes; detected by its type by default."""
    text_column: str | None = None
    """Name of the column of captions. By default captions are made from classes; without classes the column is detected."""
    templates: tuple[str, ...] = ()
    """Caption templates in which {} stands for the class name; chosen to suit the dataset by default."""
    encoder: str = "minilm"
    """Text encoder: minilm, or the hub id or folder of a CLIP or sentence-transformers model."""
    classes: Annotated[tuple[str, ...], Suppress] = ()
    """Names of the classes, read from the data when training starts."""
    text_dim: Annotated[int, Between(0, 65_536), Suppress] = 0
    """Width of the encoder's word embeddings, recorded when training starts."""
    encoder_digest: Annotated[str, Suppress] = ""
    """SHA-256 of the encoder's weights, recorded when training starts."""
    examples: Annotated[tuple[str, ...], Suppress] = ()
    """Captions for sample grids, chosen from the data when training starts."""

    def class_number(self, label: str) -> int:
        """Return the number of a class, given its name (see :func:`find_class`) or its number.

        Raises:
            ValueError: there is no such class; the message lists those there are.
        """
        named = find_class(self.classes, label)
        if named is not None:
            return named
        if label.isdecimal() and int(label) < len(self.classes):
            return int(label)
        known = ", ".join(self.classes)
        raise ValueError(f"unknown class {label!r}: choose a number from 0 to {len(self.classes) - 1}, or one of {known}")


@dataclass(frozen=True)
class OptimizerConfig(Settings):
    """Optimisation."""

    steps: Annotated[int, Between(1, 10**9)] = 10_000
    """Optimiser steps."""
    batch_size: Annotated[int, Between(1, 65_536)] = 64
    """Images per optimiser step, over all processes and accumulated parts."""
    accumulation: Annotated[int, Between(1, 65_536)] = 1
    """Split each step's batch into this many parts to save memory; the result is the same without dropout and discriminator."""
    lr: Annotated[float, Between(0.0, above=True)] = 1e-3
    """Peak learning rate of AdamW."""
    lr_schedule: Literal["cosine", "constant"] = "cosine"
    """Learning rate after the warm-up: cosine decay to 0, or constant."""
    warmup_steps: Annotated[int, Between(0, 10**9)] = 200
    """Steps over which the learning rate grows linearly from 0."""
    weight_decay: Annotated[float, Between(0.0)] = 0.01
    """Decoupled weight decay."""
    betas: Annotated[tuple[float, float], Between(0.0, 1.0, below=True)] = (0.9, 0.99)
    """Averaging constants of AdamW."""
    max_grad_norm: Annotated[float, Between(0.0, above=True)] = 1.0
    """Maximum norm of the gradient; larger gradients are scaled down."""
    ema_half_life: Annotated[int, Between(1, 10**12)] = 100_000
    """Half-life of the exponential moving average of the weights, in images."""
    ema_ramp_up: Annotated[float, Between(0.0, above=True)] = 0.05
    """Maximum half-life as a fraction of the images seen so far, so that early averages follow quickly."""
    precision: Literal["auto", "bf16", "fp16", "no"] = "auto"
    """Mixed precision: bf16 where the hardware has it (auto), fp16 with gradient scaling (GPUs only), or none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.batch_size % self.accumulation == 0,
            f"batch_size={self.batch_size} cannot be split into accumulation={self.accumulation} equal parts",
        )


@dataclass(frozen=True)
class LogConfig(Settings):
    """Logging during training, at intervals in optimiser steps."""

    log_every: Annotated[int, Between(1, 10**9)] = 50
    """Steps between lines of metrics.jsonl."""
    eval_every: Annotated[int, Between(1, 10**9)] = 500
    """Steps between measurements of the validation loss."""
    sample_every: Annotated[int, Between(1, 10**9)] = 1000
    """Steps between sample grids, which always use the same seeds."""
    save_every: Annotated[int, Between(1, 10**9)] = 500
    """Steps between saves of the weights and of the state for an exact resume."""
    sample_images: Annotated[int, Between(1, 1024)] = 36
    """Images per sample grid."""


@dataclass(frozen=True)
class InitConfig(Settings):
    """Initial weights."""

    init_from: str | None = None
    """Start from the weights of this run (a folder, or the name of a run in checkpoints/ or runs/) instead of random ones. Its
    network, diffusion settings and text encoder are used as well."""
    lora_rank: Annotated[int, Between(0, 4096)] = 0
    """With --init-from: train only additions of this rank to the attention layers (LoRA), and the embeddings of classes and
    augmentation. 0 trains all weights."""
    init_fingerprint: Annotated[str, Suppress] = ""
    """Fingerprint of those weights, recorded when training starts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not self.lora_rank or self.init_from is not None, "lora_rank needs a run to add to: give --init-from as well")


@dataclass(frozen=True)
class AutoencoderConfig(Settings):
    """The autoencoder, for --model autoencoder; its levels are those of the network."""

    latent_channels: Annotated[int, Between(1, 1024)] = 4
    """Channels of the latents."""
    kl_weight: Annotated[float, Between(0.0)] = 1e-6
    """Weight of the latents' KL divergence from the standard normal distribution, relative to the squared pixel error."""
    feature_weight: Annotated[float, Between(0.0)] = 0.0
    """Weight of the distance between a classifier's features of image and reconstruction; makes textures sharper."""
    feature_classifier: str = "tiny-imagenet"
    """Classifier whose features are compared: the name of a shipped one, or a .safetensors file."""
    adversarial_weight: Annotated[float, Between(0.0)] = 0.0
    """Weight of a discriminator that learns to tell reconstructions from images, relative to all other loss terms."""
    adversarial_start: Annotated[int, Between(0, 10**9)] = 0
    """Step at which the discriminator starts; later is more stable, because reconstructions are good by then."""


@dataclass(frozen=True)
class LatentConfig(Settings):
    """Latents that are diffused instead of pixels."""

    latent: str | None = None
    """Diffuse the latents of this autoencoder (a run folder, or the name of a run in checkpoints/ or runs/), or of this latent
    model's autoencoder. Its weights become part of the run."""
    latent_shape: Annotated[tuple[int, int, int] | None, Between(1, 4096), Suppress] = None
    """(C, H, W) of the latents, recorded when training starts."""
    latent_network: Annotated[NetworkConfig | None, Suppress] = None
    """Network of the autoencoder, recorded when training starts."""
    latent_fingerprint: Annotated[str, Suppress] = ""
    """Fingerprint of the autoencoder's run, recorded when training starts."""


@dataclass(frozen=True)
class RunConfig(Settings):
    """Everything that determines a run, with the library versions it was trained with."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    data: DataConfig = field(default_factory=DataConfig)
    condition: ConditionConfig = field(default_factory=ConditionConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    log: LogConfig = field(default_factory=LogConfig)
    init: InitConfig = field(default_factory=InitConfig)
    seed: Annotated[int, Between(0, 2**63 - 1)] = 0
    """Seed of the initial weights, the order of the images, their noise and the samples."""
    image_shape: Annotated[tuple[int, int, int] | None, Between(1, 4096), Suppress] = None
    """(C, H, W) of the images, read from the data when training starts."""
    versions: Annotated[dict[str, str], Suppress] = field(default_factory=dict)
    """Library versions, recorded when training starts."""
    model: Literal["diffusion", "autoencoder"] = "diffusion"
    """Model to train: diffusion, or an autoencoder whose latents another run can diffuse (--latent)."""
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    latent: LatentConfig = field(default_factory=LatentConfig)
    training_images: Annotated[int | None, Between(0, 10**12), Suppress] = None
    """Number of training images, recorded when training starts."""
    format: Annotated[int, Suppress] = FORMAT
    """Format of config.json. It increases when an older Noisescope would misread the file; older formats stay readable."""

    def __post_init__(self) -> None:
        require(self.format == FORMAT, f"format={self.format}: known formats are 1 to {FORMAT}")
        super().__post_init__()
        own = {
            "--latent": self.latent.latent,
            "--init-from": self.init.init_from,
            "--augment": self.data.augment,
            "--patch-size": self.network.patch_size > 1,
        }
        for flag, given in own.items():
            require(not given or self.model == "diffusion", f"{flag} is for diffusion models, not for an autoencoder")
        require(
            not (self.latent.latent and self.data.augment),
            "--augment changes pixels, but with --latent the images are encoded once, before training: leave out one of them",
        )

    @property
    def state_shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of what is noised and denoised: latents if there are any, else images."""
        return self.latent.latent_shape or self.image_shape

    @property
    def kind(self) -> str:
        """Name of the type of model for display."""
        if self.model == "autoencoder":
            return "Autoencoder"
        network = self.network.title
        shape = self.latent.latent_shape
        return network if shape is None else f"{network} of {'×'.join(map(str, shape))} latents"


def given_fields(section: Any) -> list[str]:
    """Return the names of the fields of a section that are flags; the others are recorded by training or by an import."""
    hints = get_type_hints(type(section), include_extras=True)
    return [part.name for part in fields(section) if Suppress not in getattr(hints[part.name], "__metadata__", ())]


@dataclass(frozen=True)
class _Written:
    """Format of a configuration, read before the other keys, because a newer format may have more of them."""

    format: int = 1


def config_to_json(config: RunConfig) -> str:
    """Convert to indented JSON, from which :func:`config_from_json` restores the same configuration."""
    return json.dumps(asdict(config), indent=2, ensure_ascii=False)


def config_from_json(text: str | bytes, source: str = "config.json") -> RunConfig:
    """Read a configuration from JSON.

    Raises:
        ValueError: invalid JSON, an unknown key, a wrong type, an impossible value or a newer format; the message names
            ``source``.
    """
    written = settings_from(_Written, text, source).format
    if written > FORMAT:
        raise ValueError(
            f"{source}: written by a newer Noisescope (format {written}; this one reads up to {FORMAT}): update Noisescope"
        )
    return settings_from(RunConfig, text, source)
