"""What settings are in a file, in variables and in words: reading, explaining, describing and changing them."""
