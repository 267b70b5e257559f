"""A labelled set of pictures sent to a running endpoint: what it says, and how fast, in one run."""
