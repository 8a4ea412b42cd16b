"""Recorded requests: what they share, where they diverge, why, and what that cost.

`lines -> shapes -> requests -> sharing, templates, divergence, causes -> report -> output`.
Everything is read once, line by line; what is remembered between lines is bounded.
"""
