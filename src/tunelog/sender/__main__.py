"""`python -m tunelog.sender SPOOL`: what a recorder starts beside the training."""

from tunelog.sender.process import main

main()
