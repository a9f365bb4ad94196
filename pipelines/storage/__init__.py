"""Data on disk: configurations, run folders, weights, logs, resume states, processes, caches, recipes."""
