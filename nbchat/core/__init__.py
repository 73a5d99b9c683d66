"""The domain model of nbchat, without I/O: messages, events, runs, the log and the session.

Modules of this package do not use asyncio, files, sockets or Jupyter, and can be tested in plain Python.
`tests/test_layers.py` enforces this.
"""
