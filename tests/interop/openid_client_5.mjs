// npm openid-client 5 with its default settings, under which an id_token is signed with RS256; next-auth 4 is built on it.
import assert from 'node:assert/strict'
import { given, listen, load, open, run } from './driver.mjs'

const { Issuer, generators, errors } = (await load('openid-client-5')).default

async function begin (more = {}) {
  const { uri, answer } = await listen()
  const issuer = await Issuer.discover(given.issuer)
  const client = new issuer.Client({ client_id: given.client_id, client_secret: given.secret, redirect_uris: [uri], response_types: ['code'], ...given.metadata })
  const checks = { code_verifier: generators.codeVerifier(), state: generators.state(), nonce: generators.nonce(), response_type: 'code' }
  open(client.authorizationUrl({
    scope: 'openid profile email offline_access',
    code_challenge: generators.codeChallenge(checks.code_verifier),
    code_challenge_method: 'S256',
    state: checks.state,
    nonce: checks.nonce,
    ...more,
  }))
  return { client, uri, checks, params: client.callbackParams((await answer).href) }
}

const algorithm = (token) => JSON.parse(Buffer.from(token.split('.')[0], 'base64url').toString()).alg

await run({
  async 'with its defaults' () {
    const { client, uri, checks, params } = await begin()
    const tokens = await client.callback(uri, params, checks)
    const info = await client.userinfo(tokens)
    const refreshed = await client.refresh(tokens)
    assert.equal(refreshed.claims().sub, tokens.claims().sub)
    assert.equal((await client.introspect(refreshed.access_token)).active, true)
    await client.revoke(refreshed.refresh_token)
    await assert.rejects(client.refresh(refreshed), (error) => error instanceof errors.OPError && error.error === 'invalid_grant')
    return { claims: tokens.claims(), info, algorithms: [algorithm(tokens.id_token), algorithm(refreshed.id_token)] }
  },

  async 'expects another algorithm' () {
    const { client, uri, checks, params } = await begin()
    await assert.rejects(client.callback(uri, params, checks), (error) => error instanceof errors.RPError && /alg/.test(error.message))
  },

  async 'without redirect_uri at the token endpoint' () {
    const { client, uri, checks, params } = await begin()
    const tokens = await client.grant({ grant_type: 'authorization_code', code: params.code, code_verifier: checks.code_verifier })
    assert.ok(tokens.access_token, uri)
  },
})
