"""The notebook's side: widgets, the wire to the page, notebook metadata, magics.

The only place that knows of ipywidgets, anywidget, traitlets and IPython.
"""
