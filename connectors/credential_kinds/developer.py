"""Keys of services that developers use."""

from connectors.credential_kinds.base import ApiKey, bearer

ALL = (
    ApiKey("npm", "npm", "NPM_TOKEN", url="https://registry.npmjs.org/-/whoami", headers=bearer, account=("username",)),
    ApiKey("stripe", "Stripe", "STRIPE_API_KEY", "STRIPE_SECRET_KEY", url="https://api.stripe.com/v1/balance", headers=bearer),
)
