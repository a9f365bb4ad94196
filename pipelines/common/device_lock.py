"""The lock of the device. Importing this module does not load torch."""

import threading

DEVICE = threading.Lock()
"""Held by whoever computes, for one step of its work: networks that compute side by side slow each other down."""
