# `make demo` and `make test` need nothing installed beforehand but Python 3.11 or newer and pip.

.PHONY: setup demo test quick check bench

setup:
	@scripts/install

demo: setup
	@.venv/bin/tunelog demo

test: setup
	@scripts/clients
	@scripts/trainers
	@scripts/browser
	@scripts/clickhouse
	@scripts/linters
	@scripts/check
	@scripts/test
	@scripts/smoke

quick: setup
	@scripts/check
	@scripts/test quick

check: setup
	@scripts/check

bench: setup
	@scripts/peers || echo "make bench: goes on without them" >&2
	@.venv/bin/python -m bench
