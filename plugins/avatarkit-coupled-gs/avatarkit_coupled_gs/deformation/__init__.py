"""How Gaussians and mesh follow a pose."""
