"""Tracks the body through a clip, with the shape and the texture that the photo gave."""
