"""The mathematics of diffusion models: schedules, parameterisations, losses, guidance and samplers.

It imports torch, and NumPy for the noise streams, but no other package of the project. It uses no files, no network access,
no user interface and no global random state. Everything rests on one equation, ``x_t = alpha[t]·x0 + sigma[t]·ε``.

A sampler needs no network, only a function that estimates x0. Where the data are N(m, s²), the best estimate is known, and any
sampler draws from the data:

    >>> from diffusion_core.noise import SeededNoise
    >>> from diffusion_core.samplers import unipc
    >>> from diffusion_core.schedules import make_schedule, sampling_timesteps
    >>> schedule = make_schedule("cosine")
    >>> def denoise(x_t, t, condition=None, m=0.3, s=0.1):
    ...     alpha, sigma = (level.item() for level in schedule.at(t))
    ...     return m + alpha * s**2 / (alpha**2 * s**2 + sigma**2) * (x_t - alpha * m)
    >>> noise = SeededNoise(seed=0, image_shape=(1, 16, 16), images=range(64))
    >>> *_, last = unipc(denoise, noise.initial(), sampling_timesteps(schedule, 20, "log_snr"), schedule)
    >>> f"mean {last.x.mean():.2f}, deviation {last.x.std():.2f}"
    'mean 0.30, deviation 0.10'
"""
