"""The coordinator's answers, each declared once: the coordinator constructs them, its OpenAPI document describes them, and clients read them.

A file for each resource. `record` states what both sides may rely on, and `fields` has the types of the fields.
"""
