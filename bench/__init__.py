"""What tunelog's speed and memory are on this machine: `make bench`, or `python -m bench`.

Wall times depend on what else the machine does, so each figure stands beside what something else
takes for the same in the same run: a limit, such as the same bytes served from memory by bare
uvicorn or the same rows in a plain SQLite table, and the peers of bench.peers. Ratios and the
server's CPU seconds are what to compare between machines and runs.
"""
