"""``avatarkit studio``: a page on this machine for people who use no terminal."""
