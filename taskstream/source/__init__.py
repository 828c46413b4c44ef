"""Where batches come from: each module touches one outside thing."""
