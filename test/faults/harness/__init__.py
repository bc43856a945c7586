"""What the trials of `npm run faults` are made of."""
