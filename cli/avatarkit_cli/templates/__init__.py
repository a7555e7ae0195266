"""What ``avatarkit plugins new`` starts from: one working component of each kind, as plain code that is tested as it is.

``Example``, ``example`` and ``avatarkit_example`` are replaced by the names of the new plugin.
"""
