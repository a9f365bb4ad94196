"""Training: the loop and its tasks, the moving average of the weights, the learning-rate schedule and the training queue."""
