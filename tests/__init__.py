"""The tests of tunelog: its specification, in sentences."""
