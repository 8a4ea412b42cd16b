"""`stemfirst bench`: a workload against any OpenAI-compatible endpoint, and what came of it.

Imports nothing beyond the standard library, click and the SDK, and none of the server.
"""
