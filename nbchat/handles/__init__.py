"""The public objects: `SessionRegistry`, `Session`, `Run`, and the values that they return."""
