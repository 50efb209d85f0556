"""Images and maps of single cases, small enough for a page that shows hundreds of them."""
