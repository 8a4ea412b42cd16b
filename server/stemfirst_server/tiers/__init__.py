"""Slower memory behind the device's: evicted KV goes to the host, from there to disk, and back."""
