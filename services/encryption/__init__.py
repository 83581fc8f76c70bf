"""The encryption keys of this process.

Not here: the cipher (`infra.cipher`), and the encrypted data, which stays in the package it belongs to.
"""
