"""Texts as words, and words as sounds."""
