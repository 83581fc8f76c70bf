"""Pages under `/orgs`: the list of organizations, and the pages of each one."""
