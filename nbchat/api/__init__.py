"""Public functions of the `nbchat` module. `nbchat/__init__.pyi` lists them."""
