"""Where batches and intervals go: each module touches one outside thing."""
