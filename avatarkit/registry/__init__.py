"""Finds plugins, asks them what they offer, and makes components."""
