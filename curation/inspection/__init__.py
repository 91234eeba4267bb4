"""The inspection page: one self-contained HTML page that shows what a corpus holds."""
