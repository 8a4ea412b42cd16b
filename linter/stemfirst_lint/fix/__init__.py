"""The linter's hands: plan a better order, rewrite the source, prove the result, write it.

`plan` is pure text work and cheap enough for `check`; `rewrite` loads libcst, and only then.
"""
