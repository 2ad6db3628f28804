"""What servers of this lab have in common: where they listen, to whom they answer, how a request is read."""
