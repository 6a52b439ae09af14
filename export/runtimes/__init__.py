"""The runtimes that execute a `.tflite` file, one a file."""
