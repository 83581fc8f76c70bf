"""Every action that an event can have. docs/audit.md says what each means."""

ACTIONS = frozenset(
    """
    access_token.revoked
    account.secured
    agent.created agent.deleted agent.paused agent.resumed
    api_key.created api_key.revoked
    connected_app.removed
    connection.connected connection.disconnected connection.reconnected connection.refreshed connection.used
    consent.granted
    credential.checked credential.put credential.removed credential.resolved credential.restored
    credential_declaration.put credential_declaration.removed
    database.copied
    email_confirmation.requested email_confirmation.tried email_confirmation.used
    encryption.rewrapped
    grant.created grant.revoked
    identity.linked identity.moved identity.unlinked
    invitation.accepted invitation.created invitation.declined invitation.imported invitation.link_created invitation.refused
    invitation.renewed invitation.revoked invitation.updated
    member.accepted member.imported member.left member.removed member.role_changed member.updated
    oauth_client.created oauth_client.deleted oauth_client.old_secret_revoked oauth_client.secret_rotated oauth_client.updated
    organization.created organization.deleted organization.imported organization.purged organization.restored organization.updated
    project.created project.imported project.updated
    refresh_token.replayed
    resource.created resource.updated
    sign_in.refused
    sign_in_link.created sign_in_link.revoked sign_in_link.used
    signing_key.retired signing_key.rotated
    user.admin_revoked user.created user.deleted user.disabled user.email_changed user.email_not_taken_over user.enabled
    user.exported user.made_admin user.profile_changed
    user_session.confirmed user_session.ended user_session.revoked user_session.started
    user_sessions.revoked
    """.split()  # noqa: SIM905  a table by noun; a list would have 80 lines
)
