"""Recipes that train the networks, and the command line that runs everything."""
