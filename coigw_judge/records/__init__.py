"""What is judged: a record, its fields, its digests, its genre."""
