"""What an operation costs the server, beside a bare Flask view in the same run. README.md says how to read it."""
