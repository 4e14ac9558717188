"""What can be set for a run: settings with their ranges, and presets. Standard library only."""
