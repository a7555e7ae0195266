"""The values that flow from stage to stage: frozen dataclasses with the shape beside every field."""
