"""Programs that containers start, with a folder for each that has several files. Python 3.10 or newer."""
