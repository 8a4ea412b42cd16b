"""What operators and clients do to the cache beside filling it: name, pin, explain, drain."""
