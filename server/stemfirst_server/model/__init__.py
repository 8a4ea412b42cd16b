"""Models: loading Hugging Face checkpoints, running them on our KV memory, refusing the rest."""
