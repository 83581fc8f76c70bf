"""This installation as its operators see it: checks, sweeping, rewrapping, overview, limits, and the clock and counters for doors.

Not here: what a single organization does.
"""
