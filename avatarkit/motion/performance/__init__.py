"""Performances made by rule: curves of what a person does, with poses of arms, hands and face, for any body model."""
