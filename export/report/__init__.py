"""Measurements as tables, plots and pages: `rows` for those of one runtime, `bench` for those of all."""
