"""What a run is made of, as frozen dataclasses that become JSON and come back unchanged.

The same dataclasses are the command line of ``pipelines.train``: a field is a flag, its docstring the help text.
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

FORMAT = 1  # of config.json; a file without one is of format 1
IMPORTED = "diffusers"  # the unet of a network that diffusers trained
MOST_LEVELS = 8


def find_class(names: Sequence[str], wanted: str) -> int | None:
    """The number of a class by its name or one of the synonyms that its name lists between commas, in any case."""
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
    """Width of each level, finest first; each further level halves the side."""
    blocks_per_level: Annotated[int, Between(1, 32)] = 1
    """Residual blocks of each level, on the way down and on the way up."""
    attention_levels: Annotated[tuple[int, ...] | None, Between(0, MOST_LEVELS - 1)] = None
    """Levels with self-attention, 0 being the finest; the coarsest alone by default. Only for networks with attention."""
    dropout: Annotated[float, Between(0.0, 1.0, below=True)] = 0.0
    """Share of the numbers inside residual blocks that are dropped while training; helps against overfitting few images."""
    patch_size: Annotated[int, Between(1, 16)] = 1
    """Side of the square of pixels that the network takes for one: with 2, images of 64×64 cost what 32×32 do. Not for
    autoencoders."""
    settings: Annotated[dict[str, Any], Suppress] = field(default_factory=dict)
    """Of an imported network, whose unet is "diffusers", as diffusers names them."""

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
        """What the network is told about an image, if anything."""
        return None if self.imported else NETWORKS[self.unet].takes

    @property
    def conditional(self) -> bool:
        """Whether the network is told what to show."""
        return self.takes is not None

    @property
    def imported(self) -> bool:
        """Whether it is one that diffusers trained."""
        return self.unet == IMPORTED and bool(self.settings)

    @property
    def title(self) -> str:
        """What the network is called."""
        return "Diffusers U-Net" if self.imported else NETWORKS[self.unet].title

    def options(self, image_channels: int) -> dict[str, Any]:
        """Keyword arguments of the network's class."""
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
    """The forward process and the objective; the defaults are what did best where it was tried (benchmarks/README.md)."""

    schedule: Annotated[str, *one_of(SCHEDULES)] = "flow"
    """Noise schedule."""
    timesteps: Annotated[int, Between(1, 100_000)] = 1000
    """Length T of the schedule."""
    zero_terminal_snr: bool = False
    """Rescale the schedule so that its last timestep is pure noise."""
    prediction: Annotated[str, *one_of(PREDICTIONS)] = "flow"
    """What the network outputs."""
    loss: Annotated[str, *one_of(NORMS)] = "mse"
    """How the output is compared with what it should have been."""
    weighting: Annotated[str, *one_of(WEIGHTINGS)] = "uniform"
    """How much each timestep counts."""
    min_snr_gamma: Annotated[float, Between(0.0, above=True)] = 5.0
    """The γ of min-SNR weighting."""
    noise_shift: Annotated[float, Between(0.0, above=True)] = 1.0
    """Multiply sigma/alpha by this; large images bear more noise (side/64, say)."""

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
    """Side in pixels; that of the run that this one starts from or whose latents it diffuses, else the dataset's own default
    where it has one, else 64."""
    fit: Literal["crop", "pad"] | None = None
    """crop: resize the shorter side and cut the middle; pad: surround smaller images with black. Crop by default."""
    flip: bool | None = None
    """Mirror half of the training images left-right. On by default, except where that changes what is seen."""
    image_column: str | None = None
    """Name of the image column; found by its type by default."""
    train_split: str = "train"
    """Split to train on."""
    held_out_images: Annotated[int, Between(1, 1_000_000)] = 1024
    """How many images of the test or validation split (or, without one, of the training split) measure the validation loss."""
    augment: Annotated[float, Between(0.0, 1.0)] = 0.0
    """Probability of each of several flips, scalings, rotations and shifts of a training image. The network is told which
    happened, so that samples show none. Helps with few images (0.12 in Karras et al. 2022)."""
    only_classes: tuple[str, ...] = ()
    """Names of the classes whose images are used; all by default."""


@dataclass(frozen=True)
class ConditionConfig(Settings):
    """What the network is told about each image; for networks that take a class or text."""

    condition_dropout: Annotated[float, Between(0.0, 1.0, below=True)] = 0.1
    """Share of the training images whose condition is withheld, so that the network learns to do without it too."""
    label_column: str | None = None
    """Name of the column of classes; found by its type by default."""
    text_column: str | None = None
    """Name of the column of captions. By default captions are made from the classes; without classes it is found."""
    templates: tuple[str, ...] = ()
    """Captions to make from the name of a class, which takes the place of {}; suited to the dataset by default."""
    encoder: str = "minilm"
    """What reads the captions: minilm, or the hub id or folder of a CLIP or sentence-transformers model."""
    classes: Annotated[tuple[str, ...], Suppress] = ()
    """Names of the classes, read from the data when training starts."""
    text_dim: Annotated[int, Between(0, 65_536), Suppress] = 0
    """Width of the encoder's word embeddings, recorded when training starts."""
    encoder_digest: Annotated[str, Suppress] = ""
    """SHA-256 of the encoder's weights, recorded when training starts."""
    examples: Annotated[tuple[str, ...], Suppress] = ()
    """Captions to show samples of, chosen from the data when training starts."""

    def class_number(self, label: str) -> int:
        """The number of a class given by its name (see :func:`find_class`) or its number.

        Raises:
            ValueError: there is no such class; the sentence lists those there are.
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
    """How the weights are found."""

    steps: Annotated[int, Between(1, 10**9)] = 10_000
    """Optimiser steps."""
    batch_size: Annotated[int, Between(1, 65_536)] = 64
    """Images of one optimiser step, over all processes and accumulated batches."""
    accumulation: Annotated[int, Between(1, 65_536)] = 1
    """Split each step's batch into this many parts to save memory; the result is the same without dropout and discriminator."""
    lr: Annotated[float, Between(0.0, above=True)] = 1e-3
    """Peak learning rate of AdamW."""
    lr_schedule: Literal["cosine", "constant"] = "cosine"
    """After the warm-up: down to 0 along a cosine, or constant."""
    warmup_steps: Annotated[int, Between(0, 10**9)] = 200
    """Steps over which the learning rate grows linearly from 0."""
    weight_decay: Annotated[float, Between(0.0)] = 0.01
    """Decoupled weight decay."""
    betas: Annotated[tuple[float, float], Between(0.0, 1.0, below=True)] = (0.9, 0.99)
    """AdamW's averaging constants."""
    max_grad_norm: Annotated[float, Between(0.0, above=True)] = 1.0
    """Gradients are scaled down to this norm."""
    ema_half_life: Annotated[int, Between(1, 10**12)] = 100_000
    """Images after which a weight's share in the exponential moving average has halved."""
    ema_ramp_up: Annotated[float, Between(0.0, above=True)] = 0.05
    """The half-life is at most this share of the images seen, so that early averages follow quickly."""
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
    """What is written while training, counted in optimiser steps."""

    log_every: Annotated[int, Between(1, 10**9)] = 50
    """Append a line to metrics.jsonl."""
    eval_every: Annotated[int, Between(1, 10**9)] = 500
    """Measure the loss on held-out images."""
    sample_every: Annotated[int, Between(1, 10**9)] = 1000
    """Write sample grids from fixed seeds."""
    save_every: Annotated[int, Between(1, 10**9)] = 500
    """Save the weights and the state for an exact resume."""
    sample_images: Annotated[int, Between(1, 1024)] = 36
    """Images in a sample grid."""


@dataclass(frozen=True)
class InitConfig(Settings):
    """What training starts from."""

    init_from: str | None = None
    """Start from the weights of this run (a folder, or the name of a run at hand), not from random ones. Its network, diffusion
    and text encoder are taken over."""
    lora_rank: Annotated[int, Between(0, 4096)] = 0
    """With --init-from: train additions of this rank to the attention layers (LoRA), and what tells of classes and of
    augmentation; nothing else. 0 trains all weights."""
    init_fingerprint: Annotated[str, Suppress] = ""
    """Of those weights, recorded when training starts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not self.lora_rank or self.init_from is not None, "lora_rank needs a run to add to: give --init-from as well")


@dataclass(frozen=True)
class AutoencoderConfig(Settings):
    """An autoencoder, for --model autoencoder; its levels are those of the network."""

    latent_channels: Annotated[int, Between(1, 1024)] = 4
    """Channels of the latents."""
    kl_weight: Annotated[float, Between(0.0)] = 1e-6
    """Weight of the latents' divergence from the standard normal distribution beside the squared error of a pixel."""
    feature_weight: Annotated[float, Between(0.0)] = 0.0
    """Weight of the distance between a classifier's features of an image and of its reconstruction: sharper textures."""
    feature_classifier: str = "tiny-imagenet"
    """The classifier whose features are compared: the name of a shipped one, or a .safetensors file."""
    adversarial_weight: Annotated[float, Between(0.0)] = 0.0
    """Weight of a discriminator that learns to tell reconstructions from images, relative to all other terms."""
    adversarial_start: Annotated[int, Between(0, 10**9)] = 0
    """Step at which the discriminator joins in; later is steadier, because reconstructions are good by then."""


@dataclass(frozen=True)
class LatentConfig(Settings):
    """The latents that are diffused in place of pixels."""

    latent: str | None = None
    """Diffuse the latents of this autoencoder (a run folder, or the name of a run at hand), or of the model of latents there.
    Its weights become part of the run."""
    latent_shape: Annotated[tuple[int, int, int] | None, Between(1, 4096), Suppress] = None
    """(C, H, W) of the latents, recorded when training starts."""
    latent_network: Annotated[NetworkConfig | None, Suppress] = None
    """What the autoencoder is made of, recorded when training starts."""
    latent_fingerprint: Annotated[str, Suppress] = ""
    """Of the run that its weights came from, recorded when training starts."""


@dataclass(frozen=True)
class RunConfig(Settings):
    """Everything that determines a run, and the library versions that made it."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    data: DataConfig = field(default_factory=DataConfig)
    condition: ConditionConfig = field(default_factory=ConditionConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    log: LogConfig = field(default_factory=LogConfig)
    init: InitConfig = field(default_factory=InitConfig)
    seed: Annotated[int, Between(0, 2**63 - 1)] = 0
    """Fixes the initial weights, the order of the images, their noise and the samples."""
    image_shape: Annotated[tuple[int, int, int] | None, Between(1, 4096), Suppress] = None
    """(C, H, W) of the images, read from the data when training starts."""
    versions: Annotated[dict[str, str], Suppress] = field(default_factory=dict)
    """Library versions, recorded when training starts."""
    model: Literal["diffusion", "autoencoder"] = "diffusion"
    """What is trained: a diffusion model, or an autoencoder, whose latents another run can diffuse (--latent)."""
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    latent: LatentConfig = field(default_factory=LatentConfig)
    training_images: Annotated[int | None, Between(0, 10**12), Suppress] = None
    """How many there are, recorded when training starts."""
    format: Annotated[int, Suppress] = FORMAT
    """Format of config.json. It rises when an older Noisescope would misread the file; older formats stay readable."""

    def __post_init__(self) -> None:
        require(self.format == FORMAT, f"format={self.format}: there are the formats 1 to {FORMAT}")
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
            "--augment changes pixels, and with --latent the images are encoded once, before training: leave one of them out",
        )

    @property
    def state_shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of what is noised and denoised: latents where there are any, else images."""
        return self.latent.latent_shape or self.image_shape

    @property
    def kind(self) -> str:
        """What is trained, in words."""
        if self.model == "autoencoder":
            return "Autoencoder"
        network = self.network.title
        shape = self.latent.latent_shape
        return network if shape is None else f"{network} of {'×'.join(map(str, shape))} latents"


def given_fields(section: Any) -> list[str]:
    """Return the names of the fields of a section that are flags; training records the others, or an import does."""
    hints = get_type_hints(type(section), include_extras=True)
    return [part.name for part in fields(section) if Suppress not in getattr(hints[part.name], "__metadata__", ())]


@dataclass(frozen=True)
class _Written:
    """The format of a configuration, read before its other keys, which a newer one may have more of."""

    format: int = 1


def config_to_json(config: RunConfig) -> str:
    """Indented JSON; :func:`config_from_json` gives the same configuration back."""
    return json.dumps(asdict(config), indent=2, ensure_ascii=False)


def config_from_json(text: str | bytes, source: str = "config.json") -> RunConfig:
    """Read a configuration.

    Raises:
        ValueError: invalid JSON, an unknown key, a wrong type, an impossible value or a newer format; one sentence that names
            ``source``.
    """
    written = settings_from(_Written, text, source).format
    if written > FORMAT:
        raise ValueError(
            f"{source}: written by a newer Noisescope (format {written}; this one reads up to {FORMAT}): update Noisescope"
        )
    return settings_from(RunConfig, text, source)
