"""`nbchat.map` and `nbchat.compare`: many prompts, or several models, in one call."""
