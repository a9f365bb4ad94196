"""From a run to a denoiser: networks, weights, latents, classifiers, fine-tuning, foreign models, export to diffusers."""
