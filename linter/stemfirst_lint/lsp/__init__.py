"""The language server: what `check` finds, while the author types. Needs the extra `lsp`."""
