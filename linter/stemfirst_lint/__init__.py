"""Reads Python source and says where varying text stands before text that stays.

Knows source code, rules and rewriting. Knows neither the network nor torch; imports nothing
when it is imported itself, because a pre-commit hook pays for every module on every run.
"""
