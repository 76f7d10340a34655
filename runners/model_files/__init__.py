"""What files of models say about themselves: the kind of model, and the memory that it will need. Needs no engine."""
