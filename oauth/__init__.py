"""The protocol: Authlib wired to our services. What the RFCs say, nothing about pages; no query, no commit."""
