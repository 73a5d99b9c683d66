"""Where sessions are kept: small stores behind one protocol.

A store holds, for each session, its state at some event (a *base*) and the events after it (*stretches*
of its log); or that it was deleted. It knows bytes and numbers, not what they mean.
"""
