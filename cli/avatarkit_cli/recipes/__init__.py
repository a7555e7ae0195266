"""The presets, as recipes that `--preset NAME` finds."""
