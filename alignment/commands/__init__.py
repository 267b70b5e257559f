"""The commands of `python -m alignment`, a file each; what they share is in `starting`."""
