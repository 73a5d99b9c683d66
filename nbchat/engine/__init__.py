"""The engine: the only writer. One thread with one event loop holds all live sessions and runs.

Modules here are reached from the engine's loop. Handles, pages and other kernels send commands.
"""
