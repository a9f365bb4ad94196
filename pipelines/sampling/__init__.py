"""Sampling: requests, starting points, conditions and guidance, generations, trajectories and their queue."""
