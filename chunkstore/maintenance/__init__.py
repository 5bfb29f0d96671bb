"""What keeps a store in order: moving runs in from elsewhere."""
