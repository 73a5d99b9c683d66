"""Batches of an engine: sending prompts at a rate, and the journal of their answers.

The code is the same in a kernel and in a runner. `nbchat/batch/` makes the prompts and the results.
"""
