"""What a record is: its fields, JSON and checksum, what lies over it, and how records become a run log."""
