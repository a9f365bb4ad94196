"""Fuzzing of everything that Noisescope reads: mutants of valid inputs, and a child process that reads them under watch."""
