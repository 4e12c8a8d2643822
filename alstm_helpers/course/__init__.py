"""What every notebook starts with, the exercises, and the command that runs the notebooks."""
