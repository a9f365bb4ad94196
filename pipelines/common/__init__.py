"""Shared tools: images as arrays, devices and their lock, memory, the command line, settings, reports, image metrics."""
