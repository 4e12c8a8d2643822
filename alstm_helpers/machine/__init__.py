"""Check whether this machine is ready, and measure how fast it is (chapter 2)."""
