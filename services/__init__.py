"""Rules: one package per noun, one function per thing that happens. Commits here and nowhere else; no Flask."""
