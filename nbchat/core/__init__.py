"""What nbchat is about, without I/O: messages, events, runs, the log and the session.

Nothing in here knows of asyncio, files, sockets or Jupyter; everything can be driven from a test in
plain Python. `tests/test_layers.py` holds the package to that.
"""
