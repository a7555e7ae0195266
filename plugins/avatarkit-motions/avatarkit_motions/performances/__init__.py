"""Performances made by rule: curves, faces, hands, gestures, and the clips made of them."""
