"""How findings are shown: one module a format, each a function from a report to text.

Knows nothing of files, options or exit codes; prints nothing. Modules are imported when their
format is asked for.
"""
