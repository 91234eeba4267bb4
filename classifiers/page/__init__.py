"""The browser page: exported recognisers as a static site that judges pictures on the spot."""
