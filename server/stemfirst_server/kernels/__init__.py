"""Attention kernels for CUDA, in Triton, and the choice between them and the reference path.

`choose`, `static_decode` and `trial` may be imported without Triton; the others need it.
"""
