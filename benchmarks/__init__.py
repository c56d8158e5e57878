"""Speed, measured: one file per story, each prints a line a figure and writes JSON. `python -m benchmarks` runs all."""
