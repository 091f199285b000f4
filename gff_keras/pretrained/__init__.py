"""Weights from elsewhere: files of other frameworks, and what of them fits a network."""
