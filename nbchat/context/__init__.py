"""Descriptions of the user's values: the text of a variable that is sent with a question.

Belongs here: turning a value into text, and finding values by name. Nothing here sends anything.
"""
