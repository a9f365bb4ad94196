"""Logs that other software has written: recognised by what is in them, and read as tables like those of runs of one's own."""
