"""Rules: one module per noun, one function per thing that happens. Commits here and nowhere else; no Flask."""
