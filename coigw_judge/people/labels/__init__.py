"""What people said, read and laid beside what the judge said."""
