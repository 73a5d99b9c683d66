"""The engine: the only writer of sessions. One thread with one event loop holds all live sessions and runs.

Code here runs on the engine's loop. Handles, pages and other kernels send commands.
"""
