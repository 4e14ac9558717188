"""What a run can be told: settings with their ranges, and presets. Standard library only."""
