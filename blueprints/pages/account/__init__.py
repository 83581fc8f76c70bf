"""Pages for a person's own account."""
