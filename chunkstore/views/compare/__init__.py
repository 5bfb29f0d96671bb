"""What differs between runs, and why a step ran again."""
