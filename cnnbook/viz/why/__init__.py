"""Why a network says so: which pixels speak for a class, and whether that map is about this net at all."""
