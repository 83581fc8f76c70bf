"""Google gives a refresh token only to who asks for it, and a second time only with consent."""

from connectors.oauth2 import OAuth2Connector


class Google(OAuth2Connector):
    authorize_extra = {"access_type": "offline", "prompt": "consent"}
