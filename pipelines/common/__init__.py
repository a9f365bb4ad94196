"""What every room may use: images as arrays, devices and their lock, memory, the command line, reports, picture metrics."""
