"""How good a model is: what is measured, distances with intervals, judges, the results on disk."""
