"""Measurements as tables, plots and a page."""
