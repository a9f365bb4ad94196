"""The training step of diffusers' unconditional example, with its settings, on any device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch import Tensor, nn


def mixed(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Return mixed precision in ``dtype`` as Accelerate sets it up; disabled for float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)


class DiffusersRecipe:
    """Training of a ``UNet2DModel`` as in ``examples/unconditional_image_generation``.

    Args:
        network: the network, already on its device and in its memory format.
        dtype: bfloat16 for mixed precision, float32 otherwise.
        steps: the number of steps over which the learning rate falls.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype, steps: int) -> None:
        self.network = network
        self.precision = mixed(next(network.parameters()).device, dtype)  # may be entered repeatedly
        self.scheduler = DDPMScheduler(num_train_timesteps=1000)
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
        self.learning_rate = get_cosine_schedule_with_warmup(self.optimizer, 500, steps)
        self.average = EMAModel(network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)

    def step(self, x0: Tensor) -> None:
        """Take one optimiser step on images in [−1, 1]."""
        noise, t = torch.randn_like(x0), torch.randint(1000, (len(x0),), device=x0.device)
        with self.precision:
            output = self.network(self.scheduler.add_noise(x0, noise, t), t).sample
        loss = F.mse_loss(output.float(), noise)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.learning_rate.step()
        self.optimizer.zero_grad()
        self.average.step(self.network.parameters())

    @torch.no_grad()
    def sample(self, noise: Tensor, steps: int) -> Tensor:
        """Generate images in [−1, 1] from the averaged weights with DPM-Solver++(2M)."""
        solver = DPMSolverMultistepScheduler.from_config(self.scheduler.config)
        solver.set_timesteps(steps)
        parameters = list(self.network.parameters())
        self.average.store(parameters)
        self.average.copy_to(parameters)
        x = noise
        for t in solver.timesteps:
            with self.precision:
                output = self.network(x, t).sample
            x = solver.step(output.float(), t, x).prev_sample
        self.average.restore(parameters)
        return x.clamp(-1, 1)
