"""Scripts that measure what the project claims: ``python -m benchmarks.sampling`` and others; see README.md."""
