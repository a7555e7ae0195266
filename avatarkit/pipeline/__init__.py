"""The pipeline: plans a build and runs its stages."""
