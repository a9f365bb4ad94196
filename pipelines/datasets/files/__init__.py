"""Datasets as files: folders, archives and tables of pictures, and what is said of these beside them, listed as splits."""
