"""What is written to the disk: the cache of stages, avatars, the values as files."""
