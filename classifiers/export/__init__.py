"""Export: a trained recogniser as a folder that runs without this package's training stack."""

from classifiers.export.folder import export_cell, export_recogniser

__all__ = ["export_cell", "export_recogniser"]
