"""Attention kernels for CUDA, in Triton, and the choice between them and the reference path.

`choose` is the only module that may be imported without Triton; all others need it.
"""
