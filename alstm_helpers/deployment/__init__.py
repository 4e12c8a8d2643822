"""The trained network without its code: files, engines, a server (chapter 6)."""
