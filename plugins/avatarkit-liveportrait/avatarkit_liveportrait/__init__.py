"""LivePortrait as a generator of head labels. Hook implementations only."""
