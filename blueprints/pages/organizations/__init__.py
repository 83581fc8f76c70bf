"""Pages below `/orgs`: one organization, and the list of them."""
