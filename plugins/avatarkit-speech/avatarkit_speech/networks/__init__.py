"""Speech networks that users bring."""
