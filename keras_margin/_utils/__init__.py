"""Helpers that every package may use; none needs Keras, none is public."""
