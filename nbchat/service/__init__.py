"""The runner as a service: the engines of many people and teams in one process, reached over WebSockets.

Used only with `nbchat runner --listen` and `nbchat.config(runner="https://…")`; needs the extra `service`.
The engine, the messages and the commands are those of `nbchat/runner/`.
"""
