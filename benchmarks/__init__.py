"""Measures of the model and the service."""
