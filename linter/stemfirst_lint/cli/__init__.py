"""The linter's commands, one a module, imported when they are named."""
