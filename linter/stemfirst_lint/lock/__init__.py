"""Stable prefixes in a file that goes into the repository, so that none moves unnoticed."""
