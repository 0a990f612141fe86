"""Integrations, each tried on a real (tiny) training with the real framework."""
