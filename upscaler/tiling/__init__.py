"""Where tiles lie, how they are cut from the canvas and blended into it, and the loop over them."""
