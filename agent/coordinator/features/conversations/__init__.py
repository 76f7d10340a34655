"""Stored responses and conversations of the Responses API, by the choice of their accounts, until they are deleted or too old."""
