"""What the extension carries: the engine, its weights and the host's half of it, under a name of their own."""
