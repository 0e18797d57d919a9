"""Decisions on tensors: by the core on the CPU, by Triton kernels on CUDA."""
