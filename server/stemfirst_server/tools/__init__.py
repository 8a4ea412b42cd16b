"""Calls of tools that a model writes: how each family spells them, and how to make it write one.

Knows text and JSON schemas. Does not know HTTP, tokens or any API's shapes.
"""
