"""The sender: all that was recorded reaches the store once, whatever fails on the way."""
