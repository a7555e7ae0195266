"""Thousands of photos: an index that survives every kill, workers that cannot stop each other, and a contact sheet."""
