"""What is claimed, measured: ``python -m benchmarks.sampling`` and so on; see README.md."""
