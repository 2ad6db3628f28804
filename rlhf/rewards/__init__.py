"""Where the score of a response comes from: learned models, functions, a judge, and sums of them."""
