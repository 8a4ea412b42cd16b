"""The server: models, KV memory, the radix tree and HTTP. It answers, and counts what it saved.

Knows models and tokens; does not know source code. Importing this package loads nothing heavy.
"""
