"""From bytes to a checked RGB image."""
