"""Recipes by name: each a function that returns a whole configuration for one model."""
