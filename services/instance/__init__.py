"""Running this installation: checks, sweeping, rewrapping, the overview, limits, and the clock and counters for doors.

Not here: anything that belongs to a single organization.
"""
