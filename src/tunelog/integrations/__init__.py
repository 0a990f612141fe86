"""One module a training framework: its own hooks, turned into calls of a recorder.

None is imported by tunelog itself; each needs its framework and nothing else.
"""
