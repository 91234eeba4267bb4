"""Emotion recognisers: networks, training, prediction, protocols and the report."""
