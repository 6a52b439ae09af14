"""Weights from elsewhere: own files, the files that Keras publishes, the state dicts of torch."""
