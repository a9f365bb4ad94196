"""Configuration of a run, as frozen dataclasses that JSON stores and restores unchanged.

The same dataclasses define the command line of ``pipelines.train``: a field is a flag, and its docstring is the help text.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from typing import Annotated, Any, Literal, get_type_hints

from diffusion_core.choices import DENSITIES, NORMS, PREDICTIONS, SCHEDULES, WEIGHTINGS

from ..common.json_files import parse_json
from ..common.settings import MAY_BE_PATH, RECORDED, Between, OneOf, Settings, require, seconds_in, settings_from
from .data_config import HEX
from .data_config import ConditionConfig as ConditionConfig
from .data_config import DataConfig as DataConfig
from .data_config import HeldOutConfig as HeldOutConfig
from .data_config import find_class as find_class
from .distillation_config import DistillationConfig as DistillationConfig
from .imported_config import ImportedProcess as ImportedProcess
from .network_config import AutoencoderConfig as AutoencoderConfig
from .network_config import LatentConfig as LatentConfig
from .network_config import NetworkConfig as NetworkConfig

MOST_VALUES = 2**24  # in an image, or in its latents
FORMAT = 1  # of config.json; a file that does not state its format has format 1


@dataclass(frozen=True)
class DiffusionConfig(Settings):
    """The forward process and the objective; the defaults did best in our experiments (benchmarks/README.md)."""

    schedule: Annotated[str, OneOf(SCHEDULES)] = "flow"
    """Noise schedule."""
    timesteps: Annotated[int, Between(1, 100_000)] = 1000
    """Length T of the schedule."""
    zero_terminal_snr: bool = False
    """Rescale the schedule so that its last timestep is pure noise."""
    prediction: Annotated[str, OneOf(PREDICTIONS)] = "flow"
    """Quantity that the network predicts."""
    loss: Annotated[str, OneOf(NORMS)] = "mse"
    """Loss between prediction and target."""
    weighting: Annotated[str, OneOf(WEIGHTINGS)] = "uniform"
    """Weight of each timestep in the loss."""
    min_snr_gamma: Annotated[float, Between(0.0, above=True)] = 5.0
    """γ of min-SNR weighting."""
    noise_shift: Annotated[float, Between(0.0, above=True)] = 1.0
    """Factor of sigma/alpha; large images need more noise (side/64, say)."""
    timestep_density: Annotated[str, OneOf(DENSITIES)] = "uniform"
    """How often training draws each timestep. The validation loss always covers all timesteps evenly."""
    density_mean: Annotated[float | None, Between(-100.0, 100.0)] = None
    """Mean of the density's normal distribution; by default that of its paper."""
    density_std: Annotated[float | None, Between(0.0, 100.0, above=True)] = None
    """Standard deviation of the density's normal distribution; by default that of its paper."""
    imported: Annotated[ImportedProcess | None, RECORDED] = None
    """What an imported model's scheduler says beyond these settings; None for a model trained here."""

    def __post_init__(self) -> None:
        super().__post_init__()
        in_noise = self.zero_terminal_snr or SCHEDULES[self.schedule].ends_in_noise
        require(
            not (in_noise and PREDICTIONS[self.prediction].needs_signal),
            f"{self.prediction}-prediction cannot start from pure noise: choose the prediction v, x0, flow or edm, or a "
            "schedule that does not end in pure noise, such as cosine without zero_terminal_snr",
        )
        require(
            self.timestep_density != "uniform" or (self.density_mean is None and self.density_std is None),
            "density_mean and density_std are for the timestep_density logit_normal or log_normal: give one of them as well",
        )
        table = self.imported.betas if self.imported is not None else ()
        require(
            len(table) in (0, self.timesteps),
            f"a table of {len(table):,} betas for {self.timesteps:,} timesteps: give one each",
        )

    @property
    def schedule_name(self) -> str:
        """Name of the noise schedule for display, which of an imported table is that of its library."""
        return self.imported.name if self.imported is not None and self.imported.betas else self.schedule


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
    ema_also: Annotated[tuple[int, ...], Between(1, 10**12)] = ()
    """Further half-lives, in images, of averages that are kept as well, so that the best is chosen after training: sample,
    evaluate and publish take one with --ema."""
    time_budget: str | None = None
    """Train for this long, such as 90s, 8m or 1.5h, in place of --steps: the speed is measured first, and as many steps as fit,
    with evaluations and sample grids, become the run's steps, which the learning rate follows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.batch_size % self.accumulation == 0,
            f"batch_size={self.batch_size} cannot be split into accumulation={self.accumulation} equal parts: "
            "choose a multiple of accumulation",
        )
        require(
            len({self.ema_half_life, *self.ema_also}) == 1 + len(self.ema_also),
            f"ema_also={self.ema_also}: name each half-life once, and not that of ema_half_life={self.ema_half_life} again",
        )
        if self.time_budget is not None:
            seconds_in(self.time_budget)

    @property
    def about_warmup(self) -> str:
        """One sentence if the warm-up is longer than the run; empty if not, or if it will be fitted to the time budget."""
        if self.time_budget is not None or self.warmup_steps <= self.steps:
            return ""
        return (
            f"the warm-up of {self.warmup_steps:,} steps is longer than the run of {self.steps:,}, so the learning rate never "
            f"reaches its peak: choose fewer warmup_steps, such as {self.steps // 10:,}"
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
    compared_samples: Annotated[int | None, Between(0, 100_000)] = None
    """Samples that are compared with training and held-out images at each evaluation, to follow memorisation and distance; 0
    for none. By default up to 128, as many as take at most a tenth of training, if a classifier takes the images."""


@dataclass(frozen=True)
class InitConfig(Settings):
    """Initial weights."""

    init_from: Annotated[str | None, MAY_BE_PATH] = None
    """Start from the weights of this run (a folder, the name of a run in checkpoints/ or runs/, or its id on the hub,
    USER/NAME) instead of random ones. Its network, diffusion settings and text encoder are used as well."""
    lora_rank: Annotated[int, Between(0, 4096)] = 0
    """With --init-from: train only additions of this rank to the attention layers (LoRA), and the embeddings of classes and
    augmentation. 0 trains all weights."""
    init_fingerprint: Annotated[str, RECORDED] = ""
    """Fingerprint of those weights, recorded when training starts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not self.lora_rank or self.init_from is not None, "lora_rank needs a run to add to: give --init-from as well")


@dataclass(frozen=True)
class Change(Settings):
    """A setting of the optimizer that was changed when the run was resumed.

    Attributes:
        step: steps done by then.
        name, before, after: the setting and its values.
    """

    step: Annotated[int, Between(0, 10**9)]
    name: str
    before: float
    after: float


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
    image_shape: Annotated[tuple[int, int, int] | None, Between(1, 4096), RECORDED] = None
    """(C, H, W) of the images, read from the data when training starts."""
    versions: Annotated[dict[str, str], RECORDED] = field(default_factory=dict)
    """Library versions, recorded when training starts."""
    model: Literal["diffusion", "autoencoder"] = "diffusion"
    """Model to train: diffusion, or an autoencoder whose latents another run can diffuse (--latent)."""
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    latent: LatentConfig = field(default_factory=LatentConfig)
    distillation: Annotated[DistillationConfig | None, RECORDED] = None
    """Of a student, which ``pipelines.distill`` trains; None for other models."""
    training_images: Annotated[int | None, Between(0, 10**12), RECORDED] = None
    """Number of training images, recorded when training starts."""
    training_digest: Annotated[str, HEX, RECORDED] = ""
    """Digest of their contents, in order; empty for runs of versions before 0.2."""
    changes: Annotated[tuple[Change, ...], RECORDED] = ()
    """Settings that were changed when the run was resumed; the configuration has their newest values."""
    import_notes: Annotated[tuple[str, ...], RECORDED] = ()
    """Decisions made when the model was imported, one sentence each."""
    format: Annotated[int, RECORDED] = FORMAT
    """Format of config.json. It increases when an older Noisescope would misread the file; older formats stay readable."""

    def __post_init__(self) -> None:
        require(self.format == FORMAT, f"format={self.format}: known formats are 1 to {FORMAT}")
        super().__post_init__()
        for shape in (self.image_shape, self.latent.latent_shape):
            require(math.prod(shape or ()) <= MOST_VALUES, f"images or latents of {shape}: at most {MOST_VALUES:,} values each")
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
    def is_student(self) -> bool:
        """Whether the run is a student, which samples in the steps it has learnt from its teacher and in no others."""
        return self.distillation is not None

    @property
    def sees_images(self) -> bool:
        """Whether the run is trained on images, which some students are not: they learn from their teacher alone."""
        return self.distillation is None or self.distillation.sees_images

    @property
    def about_copies(self) -> str:
        """One sentence on held-out images that are copies of training images; empty if none are known or none are used."""
        return self.data.held_out.about_copies if self.sees_images else ""

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
    return [part.name for part in fields(section) if RECORDED not in getattr(hints[part.name], "__metadata__", ())]


@dataclass(frozen=True)
class _Format:
    """Format of a configuration, read before the other keys, because a newer format may have more of them."""

    format: int = 1


def config_to_json(config: RunConfig) -> str:
    """Convert to indented JSON, from which :func:`config_from_json` restores the same configuration."""
    return json.dumps(asdict(config), indent=2, ensure_ascii=False)


@lru_cache(maxsize=256)  # pages read all runs, each some kilobytes, at every look
def config_from_json(text: str | bytes, source: str = "config.json") -> RunConfig:
    """Read a configuration from JSON.

    Raises:
        ValueError: invalid JSON, an unknown key, a wrong type, an impossible value or a newer format; the message names
            ``source``.
    """
    values = parse_json(text, source)
    written = settings_from(_Format, values, source).format
    if written > FORMAT:
        raise ValueError(
            f"{source}: written by a newer Noisescope (format {written}; this one reads up to {FORMAT}): update Noisescope"
        )
    return settings_from(RunConfig, values, source)
