"""How good a trained network is, and what it says (chapter 5)."""
