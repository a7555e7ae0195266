"""Registers the body with one photo, from an unknown pose to the last millimeter of hair."""
