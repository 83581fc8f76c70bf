"""Building blocks of pages: layout, forms, wording, icons, error pages, languages.

Not here: pages with a URL of their own (`blueprints.pages`).
"""
