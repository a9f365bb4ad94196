"""Learned weights of the loss in training: a small network learns the usual error at each noise level."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor

from diffusion_core.losses import Uncertainty
from diffusion_core.schedules import NoiseSchedule

from ..common.devices import send
from ..storage.config import RunConfig
from ..storage.state import Learner
from .accelerator import adamw


class LearnedWeights:
    """An :class:`Uncertainty` in training, beside the diffusion model whose errors it weights.

    It learns from the errors of the whole batch, so that the number of processes and accumulated parts changes nothing.

    Args:
        config: of the run.
        schedule: of the diffusion model.
    """

    accelerator: Accelerator

    def __init__(self, config: RunConfig, schedule: NoiseSchedule) -> None:
        self.log_snr = schedule.log_snr
        self.network = Uncertainty(config.seed)
        self.seen: list[tuple[Tensor, Tensor]] = []  # log-SNRs and errors of the current step

    def place(self, accelerator: Accelerator) -> None:
        """Move the network to the loop's device."""
        self.accelerator = accelerator
        self.network.to(accelerator.device)
        self.optimizer = adamw(self.network, weight_decay=0)

    @property
    def learner(self) -> Learner:
        """Network and optimiser, as saved for a resume."""
        return Learner(self.network, self.optimizer)

    def __call__(self, error: Tensor, t: Tensor) -> Tensor:
        """Return the weighted objective of each image, (B,), and remember the errors for :meth:`learn`.

        Args:
            error: (B,), of the diffusion model.
            t: (B,) timesteps, on the CPU.
        """
        log_snr = send(self.log_snr[t].float(), error.device)
        self.seen.append((log_snr, error.detach()))
        with torch.no_grad():
            u = self.network(log_snr)
        return Uncertainty.objective(error, u)

    def learn(self, lr: float) -> None:
        """Take one optimiser step on the errors of this step, at the learning rate of the diffusion model."""
        log_snr, error = (self.accelerator.gather(torch.cat(parts)) for parts in zip(*self.seen, strict=True))
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        Uncertainty.objective(error, self.network(log_snr)).mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.seen = []
