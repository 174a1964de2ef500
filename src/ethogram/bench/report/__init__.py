"""Result rows to pages: tables, plots, overviews."""
