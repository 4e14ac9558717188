"""Super-resolution networks as upscalers."""
