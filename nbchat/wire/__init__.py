"""Serves remote readers: packets, subscriptions, chunked commands, search. Independent of Jupyter."""
