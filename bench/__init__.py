"""What tunelog's speed and memory are on this machine: `make bench`, or `python -m bench`.

Wall times depend on what else the machine does, so each figure stands beside a yardstick taken in
the same run: the same bytes served from memory by bare uvicorn, the same rows in a plain SQLite
table. Ratios and the server's CPU seconds are what to compare between machines and runs.
"""
