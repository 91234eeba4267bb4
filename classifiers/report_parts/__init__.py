"""Parts of the report: what is read, what is drawn, and the page's templates."""
