"""The memory and the disk space that training and sampling take, estimated before anything is allocated.

The network runs once for one image on the "meta" device, where tensors have shapes but no memory. Numbers of parameters are
therefore exact. The memory is that of the tensors alive at once, for one process: a lower bound, to which the allocator and
the libraries' workspaces add up to :data:`ADDED` times as much (measured as the peak of the process, on a CPU).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from diffusion_core.condition import Condition
from unets.autoencoder import LatentSpace

from ..common.devices import device_memory, has_fast_bfloat16
from ..common.machine import in_words, refuse_beyond_memory
from ..common.memory import TensorMemory, weight_bytes
from ..common.text import in_short
from ..datasets.augmentation import AUGMENT_DIM
from ..storage.cache import adopt_compiler_cache
from ..storage.config import DataConfig, RunConfig, config_from_json, config_to_json
from ..storage.disk import free_space, refuse_full
from ..storage.layout import AVERAGES, STATE
from ..storage.run import Run
from ..storage.runs import find_run
from .latents import autoencoder_of, empty_autoencoder
from .networks import empty_network

COPIES = 5  # of the weights in training: themselves, their gradients, AdamW's two averages and the moving average
ADDED = 1.2  # 0.4 to 1.2 for U-Nets and autoencoders on batches of 16 to 128 images, in float32 and bfloat16
COLOURS, SIDE, TEXT_DIM = 3, 64, 384  # of data that have not been read yet
WORDS = 32  # in a prompt
ACTIVATIONS = 10  # of a block, alive at once
STATES = 64  # bytes of a sampler's states and of the pictures made from them, for each value of an image


@dataclass(frozen=True)
class Footprint:
    """What training takes.

    Attributes:
        parameters: number of parameters, including those of any autoencoder.
        memory: bytes of tensors, for batches of the configured size.
        device: where the network is trained.
        files: bytes of the weights and the saved state, while a state is replaced by the next one.
        pictures: bytes of all sample grids, at most.
    """

    parameters: int
    memory: int
    device: torch.device
    files: int = 0
    pictures: int = 0

    @property
    def about(self) -> str:
        """The number of parameters and the memory, in words."""
        return (
            f"{in_short(self.parameters)} parameters, {self._range} of memory in training "
            f"({self._owner} has {in_words(device_memory(self.device))})"
        )

    @property
    def warning(self) -> str:
        """One sentence if training may need more memory than the device has; empty if it should fit."""
        return f"training may not fit into memory: it takes {self.about}" if self._most > device_memory(self.device) else ""

    @property
    def _most(self) -> float:
        return self.memory * (1 + ADDED)

    @property
    def _range(self) -> str:
        return f"{in_words(self.memory)} to {in_words(self._most)}"

    def refuse_beyond_memory(self) -> None:
        """Raise TooLarge if this is plainly more than the device has."""
        refuse_beyond_memory(
            self.memory,
            f"training these {in_short(self.parameters)} parameters on batches of this size",
            "choose a smaller batch_size, image_size or channels, or split each batch with --accumulation",
            device_memory(self.device),
            self._owner,
        )

    def refuse_full_disk(self, run: Run) -> str:
        """Raise ValueError if the run's files certainly do not fit onto its disk; return a sentence if they barely do."""
        kept = [run.model_path, *(run.path / AVERAGES).glob("*.safetensors"), run.path / STATE]
        needed = self.files - sum(path.stat().st_size for path in kept if path.is_file())
        what = f"the weights and saved states of these {in_short(self.parameters)} parameters"
        refuse_full(run.path, needed, what, "free some space, or train in another folder")
        free, whole = free_space(run.path), needed + self.pictures
        if whole <= free:
            return ""
        return f"{what} and their sample grids may take {in_words(whole)} in {run.path}, where {in_words(free)} are free"

    @property
    def _owner(self) -> str:
        return "this machine" if self.device.type == "cpu" else f"the device {self.device}"


def training_footprint(config: RunConfig, device: torch.device, processes: int = 1) -> Footprint:
    """Estimate what each of the processes that share a batch takes. What is recorded only when training starts is guessed.

    Raises:
        TooLarge: the weights alone are plainly too large.
        ValueError: the network does not take images of this size.
    """
    adopt_compiler_cache()  # running on "meta" loads the compiler
    config = completed(config)
    modules: list[nn.Module | None] = [None if config.model == "autoencoder" else empty_network(config), autoencoder_of(config)]
    network, *frozen = filter(None, modules)
    copies = (2 if config.init.lora_rank else COPIES) + len(config.optimizer.ema_also)
    memory = weight_bytes(network) * copies + sum(map(weight_bytes, frozen))
    parameters = sum(parameter.numel() for module in (network, *frozen) for parameter in module.parameters())
    found = Footprint(parameters, memory, device, *_on_disk(config, network, frozen))
    found.refuse_beyond_memory()  # a network that cannot fit may take long to run, even without memory
    half = {"no": False, "auto": has_fast_bfloat16(device)}.get(config.optimizer.precision, True)
    batch = config.optimizer.batch_size // (config.optimizer.accumulation * processes)
    if (student := config.distillation) is not None:  # its teacher is there as well
        memory += weight_bytes(network)
        if not student.sees_images:  # all its steps are kept for the gradient
            batch *= student.most
    return replace(found, memory=memory + batch * _of_one_image(_of_network(config), half, torch.is_grad_enabled()))


def _on_disk(config: RunConfig, network: nn.Module, frozen: Sequence[nn.Module]) -> tuple[int, int]:
    """Return :attr:`Footprint.files` and :attr:`Footprint.pictures`."""
    averages, log = 1 + len(config.optimizer.ema_also), config.log
    own = weight_bytes(network)
    moments = 0 if config.init.lora_rank else 2 * sum(parameter.nbytes for parameter in network.parameters())
    state = (1 + averages) * own + moments
    saves, grids = (-(-config.optimizer.steps // every) for every in (log.save_every, log.sample_every))
    files = averages * (own + sum(map(weight_bytes, frozen))) + min(2, saves) * state
    return files, 2 * grids * log.sample_images * math.prod(config.image_shape or ())  # of averaged and of raw weights


def sampling_memory(config: RunConfig) -> int:
    """Return roughly the bytes that each image takes while it is generated, from the widths and sides of the network's levels.

    Nothing is built or run for it, because it is asked for before every generation.
    """
    network = config.network
    widths = network.settings.get("block_out_channels", (224, 448, 672, 896)) if network.imported else network.channels
    blocks = network.settings.get("layers_per_block", 2) if network.imported else network.blocks_per_level
    _, height, width = config.state_shape or (COLOURS, SIDE, SIDE)
    finest = height * width / network.patch_size**2
    values = sum(channels * finest / 4**level for level, channels in enumerate(widths))
    kept = ACTIVATIONS + 2 * blocks  # the outputs of the blocks on the way down are needed on the way up
    guided = 2 if network.conditional else 1  # guidance doubles the batch
    return round(values * kept * guided * torch.float32.itemsize) + math.prod(config.image_shape or ()) * STATES


def completed(config: RunConfig) -> RunConfig:
    """Return the configuration with a guess of the shapes that are recorded only when training starts."""
    if config.image_shape is None:
        side = config.data.image_size or SIDE
        config = replace(config, image_shape=(COLOURS, side, side))
    if config.network.takes == "text" and not config.condition.text_dim:
        config = replace(config, condition=replace(config.condition, text_dim=TEXT_DIM))
    if config.network.takes == "class" and not config.condition.classes:
        config = replace(config, condition=replace(config.condition, classes=("unknown",)))
    if config.latent.latent is None or config.latent.latent_shape is not None:
        return config
    autoencoder, network = empty_autoencoder(find_run(config.latent.latent))
    assert config.image_shape is not None
    shape = autoencoder.latent_shape(*config.image_shape[1:])
    return replace(config, latent=replace(config.latent, latent_network=network, latent_shape=shape))


def _of_network(config: RunConfig) -> str:
    """Return as JSON what determines a network and its inputs, and usual settings in place of all others."""
    usual, data = RunConfig(), DataConfig(augment=config.data.augment)
    others = {
        name: getattr(usual, name) for name in ("optimizer", "log", "init", "seed", "versions", "training_images", "changes")
    }
    if not config.network.imported:  # which is built for a schedule
        others["diffusion"] = usual.diffusion
    return config_to_json(replace(config, data=data, **others))


@lru_cache(maxsize=64)
def _of_one_image(configuration: str, half: bool, backward: bool) -> int:
    """Return the bytes of the tensors alive at once while a network runs for one image, forwards and maybe backwards."""
    config = config_from_json(configuration)
    found = autoencoder_of(config) if config.model == "autoencoder" else empty_network(config)
    assert found is not None
    network = found.to(torch.bfloat16 if half else torch.float32)
    inputs = _inputs(network, config)
    with _GroupNorms(), TensorMemory() as memory, _FusedAttention():
        output = network(*inputs)
        if backward:
            made: Tensor = output[0] if isinstance(output, tuple) else output
            made.square().mean().backward()
    return memory.peak - sum(p.grad.nbytes for p in network.parameters() if p.grad is not None)


def _inputs(network: nn.Module, config: RunConfig) -> tuple[Any, ...]:
    """Return what the network takes for one image: images with noise, or with timesteps and a condition."""
    assert config.image_shape is not None
    assert config.state_shape is not None
    with torch.device("meta"):
        if isinstance(network, LatentSpace):
            return torch.empty(1, *config.image_shape), torch.empty(1, *network.latent_shape(*config.image_shape[1:]))
        given: dict[str, Tensor] = {}
        if config.network.takes == "class":
            given["labels"] = torch.zeros(1, dtype=torch.long)
        if config.network.takes == "text":
            given["tokens"] = torch.empty(1, WORDS, config.condition.text_dim)
            given["mask"] = torch.empty(1, WORDS, dtype=torch.bool)
        if config.data.augment:
            given["augment"] = torch.empty(1, AUGMENT_DIM)
        if config.distillation is not None and config.distillation.varies:
            given["calls"] = torch.zeros(1, dtype=torch.long)
        return torch.empty(1, *config.state_shape), torch.zeros(1), Condition(**given) if given else None


class _GroupNorms(TorchDispatchMode):
    """Knows what group norms return; "meta" takes them apart to find out, which took longer than all other operations."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False, as :class:`TensorMemory` does."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.native_group_norm.default:
            x, images, groups = args[0], args[3], args[6]
            return torch.empty_like(x), x.new_empty(images, groups), x.new_empty(images, groups)
        if func is torch.ops.aten.native_group_norm_backward.default:
            x, channels = args[1], args[6]
            return torch.empty_like(x), x.new_empty(channels), x.new_empty(channels)
        return func(*args, **(kwargs or {}))


class _FusedAttention(TorchFunctionMode):
    """Computes attention as devices do, with a kernel that keeps no probabilities; "meta" would take one that does."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*args[:3])[0]
        return function(*args, **(kwargs or {}))
