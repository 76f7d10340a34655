"""What people type: shared options, ids and names, completion, and the trust anchors of verification."""
