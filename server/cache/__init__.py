"""What was judged before is not judged again: a cache of scores, by the pixels they were given."""
