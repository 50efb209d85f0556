"""Layout of a folder of the user: which files are images, which are masks, and which are not used."""
