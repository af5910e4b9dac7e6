"""Networks drawn: as stacks of boxes, and as their papers draw them."""
