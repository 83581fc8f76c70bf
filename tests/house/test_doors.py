"""Every route has a guard, or stands on this list; every API route says which scopes it needs."""

from flask_login import current_user

from blueprints import DOORS, guards
from tests.factories import make_user

PUBLIC_BLUEPRINTS = {
    "assets": "static files",
    "health": "load balancers",
    "well_known": "metadata for programs that know nothing yet",
    "oauth": "each endpoint authenticates its client, and authorize its person",
    "api_openapi": "the description of the API",
}
NO_SCOPE_NEEDED = {"api_session.show", "api_whoami.show", "api_users.show", "api_openapi.document"}


def test_every_blueprint_has_a_guard_or_a_reason():
    without = {blueprint.name for blueprint, _, guard in DOORS if guard is guards.public}
    assert without == set(PUBLIC_BLUEPRINTS)


def test_every_route_belongs_to_a_guarded_blueprint(app):
    known = {blueprint.name for blueprint, _, _ in DOORS}
    assert {rule.endpoint.partition(".")[0] for rule in app.url_map.iter_rules()} <= known


def test_every_api_route_says_which_scopes_it_requires(app):
    without = set()
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/v1/"):
            view = app.view_functions[rule.endpoint]
            if not view.needs.scopes:
                without.add(rule.endpoint)
    assert without == NO_SCOPE_NEEDED


def test_only_what_reads_no_store_believes_a_jwt_unasked(app):
    unasked = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/v1/") and not app.view_functions[rule.endpoint].needs.reads_store
    }
    assert unasked <= {"api_whoami.show", "api_openapi.document"}


def test_every_form_of_a_page_needs_a_token_of_this_browser(client):
    posts = ["/login/continue", "/logout", "/login/check-mail", "/account/link", "/login/link/x", "/login/confirm/x"]
    for path in posts:
        answer = client.post(path, data={"csrf_token": "made-up"})
        assert answer.status_code == 400, path
        assert "This form has expired" in answer.text, path


def test_a_post_from_another_site_is_refused_even_with_a_token(client):
    client.get("/login")
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert client.post("/logout", data={"csrf_token": "x"}, headers=headers).status_code == 400


def test_an_address_over_the_limit_is_414_in_the_shape_of_the_door(client):
    too_long = "x=" + "y" * 16_384
    assert client.get("/oauth/authorize?" + too_long).status_code == 414
    answer = client.get("/api/v1/whoami?" + too_long)
    assert (answer.status_code, answer.json["error"]) == (414, "request_too_long")


def test_flask_login_knows_the_person_of_the_session_and_asks_nothing_by_itself(make_app, sign_in):
    app = make_app(rate_limits="off")  # one of its own, for the route
    client, user = app.test_client(), make_user()
    sign_in(client, user)

    @app.get("/current-user")
    def current_user_id():
        return str(current_user.id) if current_user.is_authenticated else "nobody"

    assert client.get("/current-user").text == str(user.id)
    assert app.test_client().get("/current-user").text == "nobody"
    assert not [hook for hook in app.after_request_funcs.get(None, []) if "remember" in hook.__name__]
