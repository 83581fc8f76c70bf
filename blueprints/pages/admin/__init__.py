"""Pages for administrators of the instance."""
