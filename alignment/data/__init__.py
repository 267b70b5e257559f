"""Data sets with manifests, splits and samplers."""
