"""Slow, readable torch references of both rasterisers: the truth that the fast ones are tested against."""
