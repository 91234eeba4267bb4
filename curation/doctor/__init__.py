"""The command ``affectory doctor``: a file for each thing that it looks at."""
