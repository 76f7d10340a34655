"""Anthropic's Messages API: conversations as its clients and Claude Code send them become jobs of the service for text.

`request` is what they send, `conversation` turns it into the service's input, `answer` and `events` into their answer, whole or streamed.
`errors` writes errors in this API's form.
"""
