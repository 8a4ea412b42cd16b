"""KV memory: tensors in pages, who owns each page, and the radix tree of cached prefixes."""
