"""Where Gaussians begin: bound to the surface, and placed beside it where the photo shows more."""
