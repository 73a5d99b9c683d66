"""Where things happen: the engine's thread and loop, the registry, and the handles users hold."""
