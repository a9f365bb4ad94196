"""Everything that runs: reads data, trains, samples, evaluates, writes runs. Nothing here knows the dashboard."""
