"""Descriptions of the user's values: the text of a variable that is sent with a question.

Contains code that converts a value to text or finds values by name. It does not send anything.
"""
