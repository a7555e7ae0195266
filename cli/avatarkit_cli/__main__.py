"""``python -m avatarkit_cli``."""

from avatarkit_cli.entry import main

main()
