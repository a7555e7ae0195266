"""The method: plan a build, run its stages."""
