"""Text to token ids and back, and which byte of the request each prompt token came from.

A reader's way in: `template.py` (messages to text), `encoder.py` (text to ids), `placement.py`
(ids back to the request's strings), `hints.py` (the client's segments over these places),
`detokenize.py` (ids to text, as they come), `stopping.py` (stop strings).
"""
