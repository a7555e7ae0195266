"""For authors of plugins: new projects, and the material of ``plugins check``."""
