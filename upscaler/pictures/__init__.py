"""Pictures, and how they are read from files and written to them."""
