"""Data (chapter 3): download, convert, split and list shards, read them as batches; the built-in FlashDigits."""
