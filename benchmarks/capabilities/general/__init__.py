"""General ability: what an alignment for safety must not cost (the suite ``general``)."""
