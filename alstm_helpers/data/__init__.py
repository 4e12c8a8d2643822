"""From shards to batches (chapter 3)."""
