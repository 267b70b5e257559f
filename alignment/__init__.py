"""Offline: data, training of the reference VLM, and its alignment."""
