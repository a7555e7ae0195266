"""Checkpoints of third parties: requests, lists of files, downloads, and their place on disk."""
