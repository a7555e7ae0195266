"""The optimization: residuals, priors and solvers, for any observation."""
