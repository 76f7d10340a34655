"""The call that answers the document, and its assembly."""
