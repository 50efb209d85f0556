"""The command ``get``: fetches the data sets of public repositories, and explains how to get the others."""
