"""From a request to images: where sampling starts, conditions and guidance, sampling, trajectories, the queue."""
