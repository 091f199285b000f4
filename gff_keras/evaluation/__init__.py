"""Metrics, prediction and whole-data-set evaluation."""
