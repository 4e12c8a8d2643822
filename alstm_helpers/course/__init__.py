"""What the notebooks start with, how they are run, and their exercises."""
