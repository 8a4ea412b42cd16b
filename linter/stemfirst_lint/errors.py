"""The linter's exception tree: LintError is the root; each message says what to do.

LintError
├── UnreadableFile   a file that cannot be checked; the others still are
├── ConfigError      a pyproject.toml or an option that we cannot obey
├── PluginError      a plugin that is not installed, or is none
├── RevisionError    a git revision, or a repository, that is not there
├── TokenizerError   a tokenizer that was asked for and cannot be loaded
├── ShapeError       a line of a recording that is no request we understand
├── NativeError      a field of Google's or Amazon's own API of a wrong type
├── ServerError      a model's server that does not answer as it should
├── WriteError       a file that cannot be written back
├── WindowError      a history that cannot be cut in steps
├── LiteralError     a literal that cannot be spelled anew
├── CallError        a call whose arguments cannot be moved
├── ClockError       a clock that cannot be coarsened
├── ProofError       a change that cannot be proven to keep the prompt
└── ValuesError      values to try that cannot be made
"""

from __future__ import annotations


class LintError(Exception):
    """Anything that the linter reports in one line and exit code 2."""


class UnreadableFile(LintError):  # noqa: N818  it names the file, not the fault
    """A file that cannot be read or parsed; `path` names it, `reason` says why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class ConfigError(LintError):
    """Configuration that names something unknown, or gives it a value of the wrong type."""


class PluginError(LintError):
    """An entry point that cannot be loaded, or does not give rules."""


class RevisionError(LintError):
    """Something asked of git that it cannot answer."""


class TokenizerError(LintError):
    """A tokenizer named by `--model` that is missing or broken."""
