"""What the running service does when something goes wrong around it: a matrix of faults."""
