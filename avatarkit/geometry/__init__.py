"""Rotations, and graphs on meshes."""
