"""What people see of a run log. No I/O: everything is made from a `RunLog`."""
