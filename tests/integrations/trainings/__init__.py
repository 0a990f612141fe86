"""Trainings: each a script that the Python with the frameworks runs."""
