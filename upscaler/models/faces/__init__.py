"""Finding faces, and drawing them anew."""
