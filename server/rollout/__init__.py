"""Several models behind one endpoint: which of them answers, and how another takes over."""
