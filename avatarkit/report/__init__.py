"""The page, pictures and films that come with an avatar."""
