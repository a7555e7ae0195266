"""Readers and writers, one or two modules per format of motion files."""
