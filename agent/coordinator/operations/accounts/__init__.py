"""Who is asking, and what their accounts hold."""
