"""Who may log in: the site's directory, guessed passwords, and how long a login counts."""
