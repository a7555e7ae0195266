"""The mesh and the skeleton of files with a rig."""
