"""Consent, licenses and what is kept: what a user must know and can undo."""
