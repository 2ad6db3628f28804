"""People who judge answers: what they are asked, in which order, and what becomes of their votes. No web here."""
