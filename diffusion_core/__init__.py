"""The mathematics of diffusion models: schedules, parameterisations, losses, guidance and samplers.

It imports torch, and NumPy for the noise streams, but no other package of the project. It uses no files, no network access,
no user interface and no global random state. Everything rests on one equation, ``x_t = alpha[t]·x0 + sigma[t]·ε``.
"""
