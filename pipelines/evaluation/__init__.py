"""Evaluation of models: measurements, distances with confidence intervals, judges and stored results."""
