"""Training compared with diffusers and denoising-diffusion-pytorch: ``python -m benchmarks.training``.

The result is images per second of whole optimiser steps on networks of equal parameters and FLOPs. Nothing is compiled; all
variants run in one process, interleaved. A step draws timesteps and noise, adds the noise, predicts, backpropagates, clips the
gradients, and updates the weights with AdamW and the moving average:

* ours as ``pipelines.training.loop`` does it: mixed bfloat16 where the hardware has it, channels-last, fused AdamW;
* ours in float32;
* diffusers as its unconditional training example does it: float32, contiguous, heads of 8 channels, default AdamW;
* diffusers at its best: the same in mixed bfloat16, with the memory format and head width that win a trial in the same run;
* denoising-diffusion-pytorch as its Trainer does it by default, in float32;
* denoising-diffusion-pytorch at its best: in mixed bfloat16, with the memory format that wins a trial in the same run.

``benchmarks.epoch`` measures the additional cost of reading images.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product

import torch
import tyro
from torch import Tensor, nn

from diffusion_core.losses import DenoisingLoss
from diffusion_core.schedules import make_schedule
from pipelines.common.devices import best_device, compute_dtype, keep_freed_memory
from pipelines.storage.config import OptimizerConfig
from pipelines.training.ema import ExponentialMovingAverage
from unets import build_network

from .peers import IMAGE_SIDE, LAYOUTS, Peer, Size, UnetPeer, fill_zeros, find_peer, find_unet_peer
from .recipes import DiffusersRecipe, mixed
from .timing import Run, fastest, interleaved, machine, ratio, spread_warning, table, with_quartiles

SHIPPED, FLOAT32, EXAMPLE, BEST = "ours", "ours, float32", "diffusers, as its example", "diffusers, at its best"
UNET, UNET_BEST = "denoising-diffusion-pytorch, as its Trainer", "denoising-diffusion-pytorch, at its best"
DECAY = 10_000  # steps over which diffusers' learning rate falls
HEADER = ("what", "images/s (quartiles)", "ours is faster")


@dataclass(frozen=True)
class Arguments:
    """Time training steps of our networks and of those of other libraries of equal size."""

    networks: tuple[str, ...] = ("baseline", "attention")
    batch: int = 64
    repetitions: int = 15
    """Interleaved rounds that count."""
    image_channels: int = 1
    device: str = field(default_factory=lambda: str(best_device()))
    quick: bool = False
    """Two rounds at batch 16, to check that it runs, not to measure."""


def our_step(network: nn.Module, x0: Tensor, dtype: torch.dtype) -> Run:
    """Prepare what ``pipelines.training.loop.TrainingLoop.train_step`` does after choosing the images."""
    config = OptimizerConfig()
    network = network.to(x0.device, memory_format=torch.channels_last)
    loss_of = DenoisingLoss(make_schedule("cosine", 1000))
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )
    average = ExponentialMovingAverage(network, config.ema_half_life, config.ema_ramp_up)

    def run() -> None:
        noise, t = torch.randn_like(x0), loss_of.sample_timesteps(len(x0))
        with mixed(x0.device, dtype):
            loss = loss_of(network, x0, noise, t).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        average.update(network, config.ema_half_life, len(x0))

    return run


def their_best(peer: Peer, x0: Tensor) -> tuple[str, Run]:
    """Find diffusers' fastest memory format and head width in mixed bfloat16; return their name and the step."""
    steps = {}
    for layout, head in product(LAYOUTS, peer.head_widths):
        network = peer.build(head).to(x0.device, memory_format=LAYOUTS[layout])
        images = x0.contiguous(memory_format=LAYOUTS[layout])
        steps[peer.describe(layout, head)] = partial(DiffusersRecipe(network, torch.bfloat16, DECAY).step, images)
    best = fastest(steps)
    return best, steps[best]


def unet_step(peer: UnetPeer, x0: Tensor, dtype: torch.dtype, layout: str) -> Run:
    """Prepare a step of denoising-diffusion-pytorch's Trainer, with its settings and its moving average."""
    from denoising_diffusion_pytorch import GaussianDiffusion
    from ema_pytorch import EMA

    network = peer.build().to(memory_format=LAYOUTS[layout])
    diffusion = GaussianDiffusion(network, image_size=IMAGE_SIDE).to(x0.device)
    optimizer = torch.optim.Adam(diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99))
    average = EMA(diffusion, beta=0.995, update_every=10)
    images = ((x0 + 1) / 2).contiguous(memory_format=LAYOUTS[layout])

    def run() -> None:
        with mixed(x0.device, dtype):
            loss = diffusion(images)
        loss.backward()
        nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update()

    return run


def unet_best(peer: UnetPeer, x0: Tensor) -> tuple[str, Run]:
    """Find denoising-diffusion-pytorch's fastest memory format in mixed bfloat16; return its name and the step."""
    steps = {layout: unet_step(peer, x0, torch.bfloat16, layout) for layout in LAYOUTS}
    best = fastest(steps)
    return best, steps[best]


def report(name: str, arguments: Arguments) -> str:
    """Measure one network and return Markdown."""
    channels = arguments.image_channels
    x0 = torch.rand(arguments.batch, channels, IMAGE_SIDE, IMAGE_SIDE, device=arguments.device) * 2 - 1
    ours = [fill_zeros(build_network(name, image_channels=channels)) for _ in range(2)]
    size, peer, unet = Size.of(ours[0], channels), find_peer(ours[0]), find_unet_peer(ours[0])
    choice, best = their_best(peer, x0)
    layout, best_unet = unet_best(unet, x0)
    steps = {
        SHIPPED: our_step(ours[0], x0, compute_dtype(x0.device)),
        FLOAT32: our_step(ours[1], x0, torch.float32),
        EXAMPLE: partial(DiffusersRecipe(peer.build().to(x0.device), torch.float32, DECAY).step, x0),
        BEST: best,
        UNET: unet_step(unet, x0, torch.float32, "contiguous"),
        UNET_BEST: best_unet,
    }
    times = interleaved(steps, arguments.repetitions, warm_up=2)
    rows = [
        [what, with_quartiles(len(x0) / seconds, 1), "" if what == SHIPPED else f"{ratio(seconds, times[SHIPPED]):.2f}×"]
        for what, seconds in times.items()
    ]
    fast = f"diffusers is fastest with {choice}, denoising-diffusion-pytorch with {layout}"
    remarks = [f"Batch {len(x0)}. In bfloat16 {fast}.", spread_warning(times)]
    sizes = f"Ours: {size}. diffusers: {peer}. denoising-diffusion-pytorch: {unet}."
    return "\n".join(
        [f"### {name}", "", sizes, "", table(HEADER, rows), "", *(f"- {remark}" for remark in remarks if remark), ""]
    )


def main(arguments: Arguments) -> None:
    """Print one table for each network."""
    if arguments.quick:
        arguments = replace(arguments, batch=16, repetitions=2)
    torch.manual_seed(0)
    keep_freed_memory()  # as loading a model and training do; the peers benefit too
    print(f"{machine(torch.device(arguments.device))}\n")
    for name in arguments.networks:
        print(report(name, arguments), flush=True)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
