"""Readers and writers of photos, pictures, videos, sounds and cameras."""
