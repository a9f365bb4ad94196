"""Speed beside diffusers, measured: ``python -m benchmarks.sampling`` and ``python -m benchmarks.training``."""
