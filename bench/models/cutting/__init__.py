"""The cut of a network into features and head: trial images, the computation graph, and measurements of the parts."""
