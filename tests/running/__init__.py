"""Tests of `tunelog run` and of what it is made of."""
