"""Given models: where they come from, what their outputs mean, and where they are cut into features and head."""
