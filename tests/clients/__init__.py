"""Together's published clients against a real server; `scripts/clients` installs them."""
