"""Motion files of all kinds, and how they are carried over to a body model."""
