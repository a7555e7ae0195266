"""What synthetic people wear: pieces of surface, fabrics, and three outfits."""
