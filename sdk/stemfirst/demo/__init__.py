"""The demo: one app, checked, fixed, served and replayed before and after.

Composes the linter and the server as the commands that users have, through processes and HTTP;
imports neither.
"""
