"""From a run to a denoiser: networks, weights, latents, classifiers, fine-tuning, import from and export to diffusers."""
