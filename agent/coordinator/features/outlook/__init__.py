"""What a machine like this earns here: from the paid jobs of the last days, and the hours in which like machines were online for them."""
