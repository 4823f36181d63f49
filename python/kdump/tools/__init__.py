"""Programs on the package: kdump.tools.NAME is the program NAME."""
