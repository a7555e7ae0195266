"""Talks along with a recording: what is heard, what is read, and when it is spoken."""
