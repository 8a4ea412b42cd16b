"""The HTTP edge: OpenAI's shapes in, OpenAI's shapes and our savings report out.

A reader's way in: `app.py` (routes), `schema.py` (what clients send), `service.py` (what a
request passes through), `generation.py` (tokens to pieces of text), `openai.py` (what clients
read), `failures.py` (every error that a client can see), `edge.py` (ids, keys and limits around
every request).
"""
