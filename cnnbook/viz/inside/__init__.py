"""What is inside a network: maps, kernels, fields, the images and classes it sees, its loss, its training."""
