"""Batches that requests leave one by one, eager or captured as CUDA graphs."""
