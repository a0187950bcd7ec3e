"""Measure lamina beside the tools its users come from: `python -m benchmarks`."""
