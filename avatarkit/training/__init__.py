"""The optimization: views, samplers, the loop."""
