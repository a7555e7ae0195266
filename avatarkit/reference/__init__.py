"""Slow, readable rasterizers: the truth that the fast ones are tested against."""
