"""The losses of the paper's avatar: the photo (L_S) and the consistency of Gaussians and mesh (L_SC)."""
