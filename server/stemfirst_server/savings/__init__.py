"""What a cache hit saved, in milliseconds and money, and how sure that is.

A reader's way in: `costmodel.py` (the fitted law of prefill time), `calibration.py` (the first
measurements, taken at start), `report.py` (one request's account, as the client reads it).
"""
