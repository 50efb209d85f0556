"""Text of others (class names, files, folders, messages) in every medium that it is shown in."""
