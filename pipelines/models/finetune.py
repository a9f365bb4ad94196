"""Fine-tuning: training from another run's weights, of all of them or of low-rank updates (LoRA)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unets.blocks import CrossAttention, FeedForward, SelfAttention

from ..common.extras import require_extra
from ..storage.config import DiffusionConfig, LatentConfig, NetworkConfig, RunConfig
from ..storage.runs import find_run
from ..storage.weights import described_tensors, read_tensors
from .latents import PREFIX, split_weights
from .networks import empty_network, refuse_broken, refuse_misfits

if TYPE_CHECKING:
    from ..storage.run import Run

AUGMENT = "augment.weight"
CLASS_EMBEDDING = "class_embedding.weight"
ADAPTED = (SelfAttention, CrossAttention, FeedForward)  # modules whose linear layers get low-rank updates


def adopt(config: RunConfig) -> RunConfig:
    """Complete the configuration of a run that starts from another one.

    The network, diffusion settings and text encoder are copied from that run when training first starts. If no image size is
    given, it is that of the run's images or, for a latent diffusion model, of the images its autoencoder was trained on.

    Raises:
        ValueError: there is no such run, it is not a diffusion model, or one of these settings was chosen differently.
    """
    if config.latent.latent is not None:
        config = _as_large_as_in(config, config.latent.latent)
    if config.init.init_from is None or config.init.init_fingerprint:
        return config
    source = find_run(config.init.init_from)
    theirs = source.config
    if theirs.model != "diffusion":
        raise ValueError(
            f"--init-from needs a diffusion model, and {source.name} is an autoencoder: to train a diffusion model of its "
            f"latents, give --latent {config.init.init_from}"
        )
    if theirs.distillation is not None:
        raise ValueError(
            f"{source.name} is a student, which does not denoise at all noise levels any more: give --init-from its teacher, "
            f"{theirs.distillation.teacher}"
        )
    if theirs.network.imported:
        raise ValueError(
            f"{source.name} was imported from diffusers or another library and cannot be fine-tuned: "
            "give --init-from a run trained here"
        )
    usual = RunConfig()
    taken = [("network", field.name) for field in fields(NetworkConfig) if field.name != "dropout"]
    taken += [("diffusion", field.name) for field in fields(DiffusionConfig)]
    taken += [("condition", "encoder"), ("latent", "latent")]
    for section, name in taken:
        own, default, other = (getattr(getattr(part, section), name) for part in (config, usual, theirs))
        if own not in (default, other):
            raise ValueError(
                f"--init-from takes over {name}={other} from {source.name}: leave out --{name.replace('_', '-')} {own}"
            )
    condition = replace(config.condition, encoder=theirs.condition.encoder)
    init = replace(config.init, init_fingerprint=source.fingerprint)
    network = replace(theirs.network, dropout=config.network.dropout)
    latent = config.latent if theirs.latent.latent is None else LatentConfig(config.init.init_from)
    config = _as_large_as_in(config, config.init.init_from)
    return replace(config, network=network, diffusion=theirs.diffusion, condition=condition, init=init, latent=latent)


def _as_large_as_in(config: RunConfig, run: str) -> RunConfig:
    """Return the configuration, with the image size of that run if it has no other."""
    if config.data.image_size is not None or (shape := find_run(run).config.image_shape) is None:
        return config
    return replace(config, data=replace(config.data, image_size=shape[1]))


def sources_of(config: RunConfig) -> Iterator[Run]:
    """Yield the runs that a run starts from or whose latents it diffuses, and in turn those that they started from.

    A run that is no longer there is left out.
    """
    told, left = set(), [config]
    while left:
        own = left.pop()
        for name in filter(None, (own.init.init_from, own.latent.latent)):
            with suppress(ValueError, OSError):
                source = find_run(name)
                if source.path not in told:
                    told.add(source.path)
                    left.append(source.config)
                    yield source


def load_initial(network: nn.Module, config: RunConfig) -> None:
    """Load the weights of the run that ``config`` starts from into ``network``.

    Classes with the same name in both runs keep their embedding; new ones start from that of the null class.

    Raises:
        ValueError: the number of channels or the text encoder differs, the run has changed since training started, or its
            weights are damaged.
    """
    assert config.init.init_from is not None
    source = find_run(config.init.init_from)
    theirs = source.config
    _refuse_misfits(config, source)
    found = {name: part for name, part in described_tensors(source.model_path).items() if not name.startswith(PREFIX)}
    refuse_misfits(source.model_path, empty_network(theirs).state_dict(), found)
    weights, _ = split_weights(read_tensors(source.model_path)[0])
    refuse_broken(source.model_path, weights)
    own = network.state_dict()
    if AUGMENT in own:
        weights.setdefault(AUGMENT, own[AUGMENT])  # initially zero
    else:
        weights.pop(AUGMENT, None)
    if config.network.takes == "class":
        rows = {name: row for row, name in enumerate(theirs.condition.classes)}
        known = [rows.get(name, len(rows)) for name in config.condition.classes]
        weights[CLASS_EMBEDDING] = weights[CLASS_EMBEDDING][[*known, len(rows)]]
    network.load_state_dict(weights)


def _refuse_misfits(config: RunConfig, source: Run) -> None:
    theirs = source.config
    assert config.state_shape is not None
    if source.fingerprint != config.init.init_fingerprint:
        raise ValueError(f"the weights of {source.name} have changed since this run was started: start a new run")
    if theirs.state_shape is None or theirs.state_shape[0] != config.state_shape[0]:
        what = "images" if config.latent.latent is None else "latents"
        raise ValueError(
            f"{source.name} takes {theirs.state_shape[0] if theirs.state_shape else 0} channels, and the {what} of "
            f"{config.data.data} have {config.state_shape[0]}: choose data with as many channels"
        )
    if config.network.takes == "text":
        own, other = config.condition, theirs.condition
        if (own.text_dim, own.encoder_digest or other.encoder_digest) != (other.text_dim, other.encoder_digest):
            raise ValueError(
                f"{source.name} was trained with the text encoder {other.encoder!r} ({other.text_dim} dimensions, weights "
                f"{other.encoder_digest[:12]}), and {own.encoder!r} has {own.text_dim} dimensions and the weights "
                f"{own.encoder_digest[:12]}: use the former"
            )


def add_low_rank(network: nn.Module, rank: int, seed: int) -> None:
    """Freeze the network and add a trainable low-rank update B·A to the linear layers of its attention, with peft.

    See Hu et al. 2022, section 4.1. B starts at zero, so the network is unchanged at first. The embeddings of classes and of
    augmentations remain trainable as they are, since other data have other classes and augmentation may be new.

    Args:
        rank: of A and B.
        seed: of the initial A.

    Raises:
        ValueError: the network has no attention.
    """
    require_extra("lora")
    from peft import LoraConfig, inject_adapter_in_model

    targets = [
        f"{name}.{child}"
        for name, module in network.named_modules()
        if isinstance(module, ADAPTED)
        for child, part in module.named_children()
        if isinstance(part, nn.Linear)
    ]
    if not targets:
        raise ValueError("--lora-rank adapts attention layers, and this network has none: train all weights (--lora-rank 0)")
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets), network)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if name in (AUGMENT, CLASS_EMBEDDING):
            parameter.requires_grad_(True)
        if "lora_A" in name:
            nn.init.kaiming_uniform_(parameter, a=5**0.5, generator=generator)


def plain_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return the network's state dict with all low-rank updates merged into the weights."""
    require_extra("lora")
    from peft.tuners.tuners_utils import BaseTunerLayer

    merged = copy.deepcopy(network)
    for module in merged.modules():
        if isinstance(module, BaseTunerLayer):
            module.merge()
    return {name.replace(".base_layer.", "."): tensor for name, tensor in merged.state_dict().items() if ".lora_" not in name}
