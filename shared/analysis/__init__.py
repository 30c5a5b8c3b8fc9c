"""Looking at new photographs, and asking the site's own analyser about them."""
