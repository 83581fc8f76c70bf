"""Things that know no domain word: clocks, ciphers, Redis records, HTTP, mail."""
