"""The bytes of artifacts and of uploads in progress, in a directory or a bucket, and the space that they may use."""
