"""Pages without navigation: before, during and right after a sign-in."""
