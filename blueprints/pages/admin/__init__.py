"""Pages of the instance, for its administrators."""
