"""Fine-tuning: training that starts from another run's weights, all of them or low-rank additions to them."""

from __future__ import annotations

import copy
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unets.blocks import CrossAttention, FeedForward, SelfAttention

from ..storage.config import DiffusionConfig, LatentConfig, NetworkConfig, RunConfig
from ..storage.runs import find_run
from ..storage.weights import read_tensors
from .latents import split_weights

if TYPE_CHECKING:
    from ..storage.runs import Run

AUGMENT = "augment.weight"
CLASS_EMBEDDING = "class_embedding.weight"
ADAPTED = (SelfAttention, CrossAttention, FeedForward)  # their linear layers get additions


def adopt(config: RunConfig) -> RunConfig:
    """The configuration of a run that starts from another: its network, diffusion and text encoder are taken over, once.

    So is the size of its images, or of those that the autoencoder of a model of latents was trained on, where none is given.

    Raises:
        ValueError: there is no such run, it is no diffusion model, or one of these was chosen otherwise.
    """
    if config.latent.latent is not None:
        config = _as_large_as_in(config, config.latent.latent)
    if config.init.init_from is None or config.init.init_fingerprint:
        return config
    source = find_run(config.init.init_from)
    theirs = source.config
    if theirs.model != "diffusion":
        raise ValueError(
            f"--init-from goes on from a diffusion model, and {source.name} is an autoencoder: to diffuse its latents, give "
            f"--latent {config.init.init_from}"
        )
    if theirs.network.imported:
        raise ValueError(f"--init-from goes on from a network made here, and {source.name} was imported from diffusers")
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
    """The same, with images as large as those of that run where no size is given."""
    if config.data.image_size is not None or (shape := find_run(run).config.image_shape) is None:
        return config
    return replace(config, data=replace(config.data, image_size=shape[1]))


def load_initial(network: nn.Module, config: RunConfig) -> None:
    """Put the weights of the run that ``config`` starts from into ``network``.

    Classes that both runs know by the same name keep their embedding; new ones start from the null class.

    Raises:
        ValueError: the images have other channels, the captions are read by another encoder, or the run has changed since.
    """
    assert config.init.init_from is not None
    source = find_run(config.init.init_from)
    theirs = source.config
    _refuse_misfits(config, source)
    weights, _ = split_weights(read_tensors(source.model_path)[0])
    own = network.state_dict()
    if AUGMENT in own:
        weights.setdefault(AUGMENT, own[AUGMENT])  # it starts at zero
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
        raise ValueError(f"the weights of {source.name} have changed since this run was begun: start a new one")
    if theirs.state_shape is None or theirs.state_shape[0] != config.state_shape[0]:
        what = "images" if config.latent.latent is None else "latents"
        raise ValueError(
            f"{source.name} takes {theirs.state_shape[0] if theirs.state_shape else 0} channels, and the {what} of "
            f"{config.data.data} have {config.state_shape[0]}: choose data like its own"
        )
    if config.network.takes == "text":
        own, other = config.condition, theirs.condition
        if (own.text_dim, own.encoder_digest or other.encoder_digest) != (other.text_dim, other.encoder_digest):
            raise ValueError(
                f"the text encoder {own.encoder!r} makes vectors of {own.text_dim} numbers with weights "
                f"{own.encoder_digest[:12]}; {source.name} was trained with {other.encoder!r}, which made {other.text_dim} "
                f"with weights {other.encoder_digest[:12]}: put that one in its place"
            )


def add_low_rank(network: nn.Module, rank: int, seed: int) -> None:
    """Freeze the network and add a trainable B·A to the linear layers of its attention, through peft.

    (Hu et al. 2022, section 4.1.) B starts at zero, so nothing changes at first. What tells the network of classes and of
    augmentation goes on training as it is: other data bring other classes, and augmentation may be new.

    Args:
        rank: of A and B.
        seed: of A.

    Raises:
        ValueError: a network without attention.
    """
    from peft import LoraConfig, inject_adapter_in_model

    targets = [
        f"{name}.{child}"
        for name, module in network.named_modules()
        if isinstance(module, ADAPTED)
        for child, part in module.named_children()
        if isinstance(part, nn.Linear)
    ]
    if not targets:
        raise ValueError("--lora-rank adds to attention, and this network has none: train all of its weights (--lora-rank 0)")
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets), network)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if name in (AUGMENT, CLASS_EMBEDDING):
            parameter.requires_grad_(True)
        if "lora_A" in name:
            nn.init.kaiming_uniform_(parameter, a=5**0.5, generator=generator)


def plain_weights(network: nn.Module) -> dict[str, Tensor]:
    """The state dict of the network as it was built: low-rank additions are added in."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    merged = copy.deepcopy(network)
    for module in merged.modules():
        if isinstance(module, BaseTunerLayer):
            module.merge()
    return {name.replace(".base_layer.", "."): tensor for name, tensor in merged.state_dict().items() if ".lora_" not in name}
