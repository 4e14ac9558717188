"""Operations on arrays of pixels; nothing here knows a file, a tile or a model."""
