"""What every room uses: checks of arguments, types, files and convex hulls."""
