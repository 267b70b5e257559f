"""Batches: many moderation requests in one upload, judged in the background, answered in a file."""
