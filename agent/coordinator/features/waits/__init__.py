"""Why jobs wait, for their clients and for the owners of miners."""
