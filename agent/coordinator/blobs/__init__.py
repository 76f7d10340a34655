"""The bytes of artifacts and of uploads in progress, in a directory or what a feature opens, and the space that they may use."""
