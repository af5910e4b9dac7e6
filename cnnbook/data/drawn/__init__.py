"""Sets that seeded functions draw, with exact answers: scenes, cells that touch, faces from many sides."""

from . import cells, drawing, faces, scenes

__all__ = ["cells", "drawing", "faces", "scenes"]
