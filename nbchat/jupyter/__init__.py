"""Jupyter integration: widgets, the connection to pages, notebook metadata and magics.

The only package that imports ipywidgets, anywidget, traitlets and IPython.
"""
