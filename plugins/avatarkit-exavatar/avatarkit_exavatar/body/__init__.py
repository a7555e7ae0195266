"""The body as unknowns: parameters, joint limits, kinematics with derivatives, points on the surface."""
