"""Watching: the faces of a camera or a film, followed and named as they move."""
