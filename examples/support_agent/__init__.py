"""A support agent, as it is often written."""
