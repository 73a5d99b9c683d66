"""Stores that save sessions, behind one protocol.

For each session a store has its state at some event (a *base*) and the events after it (*stretches* of its
log), or a record of its deletion. It handles bytes and numbers and does not interpret them.
"""
