"""Lock of the compute device. Importing this module does not load torch."""

import threading

DEVICE = threading.Lock()
"""Held for one step of computation at a time, because networks that compute concurrently slow each other down."""
