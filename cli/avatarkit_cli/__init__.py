"""The avatarkit command line: a thin layer on the Python API."""
