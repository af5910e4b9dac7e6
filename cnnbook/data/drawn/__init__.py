"""Sets that seeded functions draw, with exact answers: scenes, cells that touch, faces from many sides."""
