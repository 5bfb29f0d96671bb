"""What keeps a store in order: moving runs in, checking and mending them, deleting old ones, examining a folder."""
