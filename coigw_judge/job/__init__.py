"""The job file, checked; and from it the recipe that actors get and the fingerprints of its requests."""
