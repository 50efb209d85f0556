"""How files are read: images, DICOM, tables, released splits."""
