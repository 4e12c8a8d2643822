"""From video files and labels to features, and from a file to its labels (chapters 3.1 and 9)."""
