"""The demo model's small files: configuration, tokenizer and chat template, shipped as data.

`tokenizer.json` is written by `train_tokenizer.py` from the text that `corpus.py` makes. The
weights are not shipped: `stemfirst_server.model.demo` draws them from a fixed seed.
"""
