"""The commands: one module each, with options, checks of the input and what is printed."""
