"""What the world may do to our client, a file for each kind of thing. `matrix.py` is the list."""
