"""Fault drills: the same short real training, whatever happens to its server, disk or sender."""
