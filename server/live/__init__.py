"""The page on the ops port that shows the last half hour: what is kept for it, and the page itself."""
