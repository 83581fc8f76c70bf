"""What pages are made of: layout, forms, words, icons, error pages, languages.

Not here: any page with an address of its own (`blueprints.pages`).
"""
