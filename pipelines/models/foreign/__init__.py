"""Models of other libraries: what lies on disk is recognised, and becomes a run with every decision noted."""
