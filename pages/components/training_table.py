"""The settings on the Train page, row by row."""

from __future__ import annotations

from pages.components.setting import Setting

SIZE = Setting("data.image_size", "size", "Image size")
DATA = (
    SIZE,
    Setting("data.fit", "fit", "Fit"),
    Setting("data.flip", "flip", "Horizontal flip"),
    Setting("data.only_classes", "only_classes", "Classes", more={"placeholder": "all"}),
)
BUDGET = (
    Setting("optimizer.steps", "train_steps", "Steps", more={"step": 1000}),
    Setting("optimizer.batch_size", "batch", "Batch size", "batch size"),
)
FROM_PAPER = {"placeholder": "as in its paper"}
PATCH = Setting("network.patch_size", "patch", "Patch size", "patch size", taken=True)
RANK = Setting("init.lora_rank", "rank", "LoRA rank", "LoRA")
MORE = (  # row by row
    (
        Setting("network.channels", "channels", "Channels per level", taken=True),
        PATCH,
        Setting("diffusion.prediction", "prediction", "Prediction", "prediction", taken=True),
        Setting("diffusion.schedule", "schedule", "Noise schedule", "schedule", taken=True),
        Setting("seed", "train_seed", "Seed"),
    ),
    (
        Setting("optimizer.lr", "lr", "Learning rate", "learning rate", more={"step": 1e-4, "format": "%.1e"}),
        Setting("optimizer.lr_schedule", "lr_schedule", "Learning rate schedule"),
        Setting("optimizer.warmup_steps", "warmup", "Warm-up steps", "warm-up"),
        Setting("optimizer.precision", "precision", "Precision"),
    ),
    (
        Setting("diffusion.timestep_density", "density", "Timestep density", "timestep density", taken=True),
        Setting("diffusion.density_mean", "density_mean", "Mean of the density", taken=True, more=FROM_PAPER),
        Setting("diffusion.density_std", "density_std", "Standard deviation", taken=True, more=FROM_PAPER),
        Setting("diffusion.weighting", "weighting", "Loss weights", "loss weights", taken=True),
    ),
    (
        Setting("optimizer.ema_half_life", "ema", "EMA half-life", "EMA", more={"step": 10_000}),
        Setting("optimizer.ema_also", "ema_also", "Further half-lives", more={"placeholder": "none"}),
        Setting("optimizer.time_budget", "budget", "Time budget", more={"placeholder": "none: train the steps above"}),
    ),
    (
        Setting("data.augment", "augment", "Augmentation", "augmentation", more={"step": 0.02}),
        Setting("network.dropout", "dropout", "Dropout", "dropout", more={"step": 0.05}),
        Setting("diffusion.noise_shift", "shift", "Noise shift", "noise shift", taken=True, more={"step": 0.5}),
    ),
)
SETTINGS = (*DATA, *BUDGET, *(setting for row in MORE for setting in row))
