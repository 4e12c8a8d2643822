"""Training, and what it leaves behind (chapters 4 and 8)."""
