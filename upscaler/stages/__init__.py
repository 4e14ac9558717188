"""What is done to a picture, stage by stage."""
