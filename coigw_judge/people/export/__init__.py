"""Rows handed to people: which, in what form, and the accepted corpus."""
