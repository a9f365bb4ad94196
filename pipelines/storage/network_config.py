"""Settings of a run's networks: the denoising network, the autoencoder, and the latents that it makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from unets.choices import NETWORKS

from ..common.settings import LONGEST, MAY_BE_PATH, RECORDED, Between, OneOf, Settings, require
from ..common.text import shorten
from .imported_config import IMPORTED, MOST_LEVELS, check_numbers


@dataclass(frozen=True)
class NetworkConfig(Settings):
    """The denoising network."""

    unet: Annotated[str, OneOf(NETWORKS)] = "baseline"
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
    settings: Annotated[dict[str, Any], RECORDED] = field(default_factory=dict)
    """Settings of an imported network (``unet`` is a key of IMPORTED), under their names in its library."""
    null_class: Annotated[int | None, Between(0, 100_000), RECORDED] = None
    """Number of an imported network's class that stands for none; None if it was trained without such a class."""

    def __post_init__(self) -> None:
        if self.imported:
            check_numbers(self.settings)
        else:
            super().__post_init__()
            levels = shorten(str(self.attention_levels), LONGEST)
            require(
                1 <= len(self.channels) <= MOST_LEVELS,
                f"channels={shorten(str(self.channels), LONGEST)}: give the widths of 1 to {MOST_LEVELS} levels",
            )
            require(
                not self.attention_levels or NETWORKS[self.unet].attention,
                f"attention_levels={levels} is for networks with attention: leave it out with {self.unet}",
            )
            require(
                max(self.attention_levels or (0,)) < len(self.channels),
                f"attention_levels={levels}: this network has levels 0 … {len(self.channels) - 1}",
            )

    @property
    def takes(self) -> Literal["class", "text"] | None:
        """Type of the network's condition; None if it is unconditional."""
        if self.imported:
            return None if self.settings.get("num_class_embeds") is None else "class"
        return NETWORKS[self.unet].takes

    @property
    def conditional(self) -> bool:
        """Whether the network is conditional."""
        return self.takes is not None

    @property
    def always_conditional(self) -> bool:
        """Whether the network has no estimate without a condition, so that it always needs one and cannot be guided."""
        return self.imported and self.conditional and self.null_class is None

    @property
    def imported(self) -> bool:
        """Whether the network was trained by another library."""
        return self.unet in IMPORTED and bool(self.settings)

    @property
    def title(self) -> str:
        """Name of the network for display."""
        return IMPORTED[self.unet] if self.imported else NETWORKS[self.unet].title

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
class AutoencoderConfig(Settings):
    """The autoencoder, for --model autoencoder; its levels are those of the network."""

    latent_channels: Annotated[int, Between(1, 1024)] = 4
    """Channels of the latents."""
    kl_weight: Annotated[float, Between(0.0)] = 1e-6
    """Weight of the latents' KL divergence from the standard normal distribution, relative to the squared pixel error."""
    feature_weight: Annotated[float, Between(0.0)] = 0.0
    """Weight of the distance between a classifier's features of image and reconstruction; makes textures sharper."""
    feature_classifier: Annotated[str, MAY_BE_PATH] = "tiny-imagenet"
    """Classifier whose features are compared: the name of a shipped one, or a .safetensors file."""
    adversarial_weight: Annotated[float, Between(0.0)] = 0.0
    """Weight of a discriminator that learns to tell reconstructions from images, relative to all other loss terms."""
    adversarial_start: Annotated[int, Between(0, 10**9)] = 0
    """Step at which the discriminator starts; later is more stable, because reconstructions are good by then."""


@dataclass(frozen=True)
class LatentConfig(Settings):
    """Latents that are diffused instead of pixels."""

    latent: Annotated[str | None, MAY_BE_PATH] = None
    """Diffuse the latents of this autoencoder (a run folder, the name of a run in checkpoints/ or runs/, or its id on the hub,
    USER/NAME), or of this latent model's autoencoder. Its weights become part of the run."""
    latent_shape: Annotated[tuple[int, int, int] | None, Between(1, 4096), RECORDED] = None
    """(C, H, W) of the latents, recorded when training starts."""
    latent_network: Annotated[NetworkConfig | None, RECORDED] = None
    """Network of the autoencoder, recorded when training starts."""
    latent_fingerprint: Annotated[str, RECORDED] = ""
    """Fingerprint of the autoencoder's run, recorded when training starts."""
