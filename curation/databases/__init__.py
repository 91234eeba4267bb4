"""One adapter a file: ``rows(root, ...)`` yields the pictures of one face database."""
