"""Pages without navigation, shown before, during and right after sign-in."""
