"""Samplers, which turn noise into images; each is a generator.

Every sampler has the same call, ``sampler(denoise, x, timesteps, schedule, condition=None, *, noise=None)``:

* ``denoise(x_t, t, condition)`` estimates x0, as :class:`diffusion_core.denoiser.Denoiser` does;
* ``x`` is the state at the first timestep, (B, C, H, W) float32;
* ``timesteps`` descend (see ``schedules.sampling_timesteps``); the clean image follows the last one;
* ``noise`` is a :class:`diffusion_core.noise.SeededNoise`, needed only where fresh noise is added.

It yields one :class:`Step` before each update and a last one with the sample. To add a sampler, write such a generator and
add one entry to ``choices.SAMPLERS``. Gradients are off inside a sampler; its consumer keeps its own setting.

    >>> import torch
    >>> from diffusion_core.schedules import flow, sampling_timesteps
    >>> def denoise(x_t, t, condition=None):
    ...     return torch.zeros_like(x_t)  # all images are grey
    >>> for step in ddim(denoise, torch.ones(1, 1, 2, 2), sampling_timesteps(flow(), 4), flow()):
    ...     print(step.index, step.timestep, round(step.x.max().item(), 2), step.nfe)
    0 999.0 1.0 1
    1 749.0 0.75 2
    2 499.0 0.5 3
    3 249.0 0.25 4
    4 0.0 0.0 4
"""

from ..choices import SAMPLERS as SAMPLERS
from .ancestral import ddim as ddim
from .ancestral import ddpm as ddpm
from .dpm_solver import dpmpp_2m as dpmpp_2m
from .dpm_solver import dpmpp_2m_sde as dpmpp_2m_sde
from .dpm_solver import dpmpp_2s as dpmpp_2s
from .dpm_solver import dpmpp_3m as dpmpp_3m
from .dpm_solver import unipc as unipc
from .slopes import heun as heun
from .slopes import ipndm as ipndm
from .steps import CLEAN as CLEAN
from .steps import Denoise as Denoise
from .steps import Estimator as Estimator
from .steps import Level as Level
from .steps import Move as Move
from .steps import Step as Step
from .steps import ancestral_step as ancestral_step
from .steps import calls_at as calls_at
from .steps import forward_kernel as forward_kernel
from .steps import fresh_noise as fresh_noise
from .steps import levels_at as levels_at
from .steps import noise_levels as noise_levels
from .steps import straight_step as straight_step
