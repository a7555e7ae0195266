"""Templates of ``avatarkit plugins new``: one working component of each kind, as plain, tested code.

``Example``, ``example`` and ``avatarkit_example`` are replaced by the names of the new plugin.
"""
