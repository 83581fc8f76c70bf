"""The encryption keys of this process.

Not here: the cipher (`infra.cipher`), and what is encrypted, which belongs to its own room.
"""
