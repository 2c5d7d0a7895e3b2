"""What containers start, a folder for each container that has more than one file. Python 3.10 or newer."""
