"""The reference VLM: one definition for training and serving, and its assembly."""
