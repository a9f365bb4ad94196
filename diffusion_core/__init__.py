"""The mathematics of diffusion models: schedules, parameterisations, losses, guidance and samplers.

It imports torch (and NumPy, for the noise streams) and nothing of ours: no files, no network, no user interface and no
global random state. Everything rests on one equation, ``x_t = alpha[t]·x0 + sigma[t]·ε``.
"""
