"""Bootstrap samples of groups, and the arrays of scores that they are drawn from."""
