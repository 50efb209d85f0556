"""Readers of files: images, DICOM, tables and released splits, shared by the sources."""
