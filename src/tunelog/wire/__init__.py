"""JSON <-> model, both ways; the only place that knows field names.

`times` reads and writes timestamps, `snapshots` rows and batches, `queries` the parameters of a
read, `catalog` jobs, attempts, events, checkpoints and summaries.
"""
