"""What a page says when there is as much as there may be."""

from blueprints.html.catalogues import gettext as _
from services.access.quotas import QuotaReached


def reached(error: QuotaReached) -> str:
    """For the field of the form that wanted more."""
    count = error.limit
    texts = {
        "credentials": _("There are as many credentials as allowed (%(count)s). Remove one first", count=count),
        "agents": _("This organization has as many agents as allowed (%(count)s). Delete one first", count=count),
        "keys": _("You and your agents have as many keys as allowed (%(count)s). Revoke one first", count=count),
        "organizations": _("You own as many organizations as allowed (%(count)s). Deleted ones count until they’re gone", count=count),
        "emails_per_day": _("You can send %(count)s invitations in 24 hours. Wait, then try again. Nothing was sent", count=count),
        "slug_changes": _("The short name was changed %(count)s times in the last 30 days. Wait, then try again", count=count),
    }
    return texts.get(error.quota, error.message)
