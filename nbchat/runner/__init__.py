"""The engine as a process of its own, beside a notebook's kernel, and the kernel's link to it.

Used only with `nbchat.config(runner="local")`. Nothing here depends on Jupyter: `nbchat/cli.py` connects the
process with the notebook.
"""
