"""From images to weights: the loop and what it trains, the moving average, the schedule, the queue of trainings."""
