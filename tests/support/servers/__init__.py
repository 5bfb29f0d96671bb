"""Object stores on this machine: real servers, and a fake where there is none; `object_fixtures` starts them."""
