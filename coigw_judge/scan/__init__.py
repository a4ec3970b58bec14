"""The pass that reads the whole input: digests, screens, copies, and what is wrong with whole files."""
