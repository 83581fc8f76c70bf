// npm oauth4webapi: a confidential client, a resource server that reads JWTs by RFC 9068, and one that introspects.
import assert from 'node:assert/strict'
import { given, listen, load, open, run } from './driver.mjs'

const oauth = await load('oauth4webapi')
const loopback = { [oauth.allowInsecureRequests]: true }
const client = { client_id: given.client_id }
const auth = given.secret ? oauth.ClientSecretBasic(given.secret) : oauth.None()

async function discover (algorithm = 'oauth2') {
  const issuer = new URL(given.issuer)
  return oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm, ...loopback }))
}

async function getCode (as, more = {}) {
  const { uri, answer } = await listen()
  const verifier = oauth.generateRandomCodeVerifier()
  const state = oauth.generateRandomState()
  const url = new URL(as.authorization_endpoint)
  const values = {
    client_id: client.client_id,
    response_type: 'code',
    redirect_uri: uri,
    scope: given.scope,
    state,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...more,
  }
  for (const [name, value] of Object.entries(values)) url.searchParams.set(name, value)
  open(url)
  return { uri, verifier, parameters: oauth.validateAuthResponse(as, client, await answer, state) }
}

async function exchange (as, { uri, verifier, parameters }, more) {
  const response = await oauth.authorizationCodeGrantRequest(as, client, auth, parameters, uri, verifier, { additionalParameters: more, ...loopback })
  return oauth.processAuthorizationCodeResponse(as, client, response)
}

async function refresh (as, token, more) {
  const response = await oauth.refreshTokenGrantRequest(as, client, auth, token, { additionalParameters: more, ...loopback })
  return oauth.processRefreshTokenResponse(as, client, response)
}

async function introspect (as, token) {
  return oauth.processIntrospectionResponse(as, client, await oauth.introspectionRequest(as, client, auth, token, loopback))
}

async function revoke (as, token) {
  return oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, token, loopback))
}

// What a resource server does with a request that carries the token (RFC 9068 section 4).
async function accept (as, token, audience = given.resource) {
  const request = new Request(audience, { headers: { authorization: `Bearer ${token}` } })
  return oauth.validateJwtAccessToken(as, request, audience, { signingAlgorithms: ['ES256'], ...loopback })
}

const claimsOf = (token) => (token.split('.').length === 3 ? JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString()) : token)
const isRefused = (code) => (error) => {
  assert.ok(error instanceof oauth.ResponseBodyError, String(error))
  assert.equal(error.error, code)
  return true
}

await run({
  async discovery () {
    const [oauth2, oidc] = [await discover('oauth2'), await discover('oidc')]
    assert.deepEqual(oauth2, oidc)
    return oauth2
  },

  async 'a JWT for a resource' () {
    const as = await discover()
    const tokens = await exchange(as, await getCode(as, { resource: given.resource }), { resource: given.resource })
    const claims = await accept(as, tokens.access_token)
    await assert.rejects(accept(as, tokens.access_token, 'https://elsewhere.example'), oauth.OperationProcessingError)
    const later = await refresh(as, tokens.refresh_token)
    const claimsLater = await accept(as, later.access_token)
    const [info, infoOfRefresh] = [await introspect(as, later.access_token), await introspect(as, later.refresh_token)]
    await revoke(as, later.refresh_token)
    const after = [await introspect(as, tokens.access_token), await introspect(as, later.access_token), await introspect(as, later.refresh_token)]
    return { header: headerOf(tokens.access_token), claims, claimsLater, info, infoOfRefresh, after }
  },

  async 'an unknown resource' () {
    const as = await discover()
    await assert.rejects(getCode(as, { resource: 'https://elsewhere.example' }), (error) => {
      assert.ok(error instanceof oauth.AuthorizationResponseError, String(error))
      assert.equal(error.error, 'invalid_target')
      return true
    })
    const code = await getCode(as, { resource: given.resource })
    await assert.rejects(exchange(as, code, { resource: 'https://elsewhere.example' }), isRefused('invalid_target'))
    const tokens = await exchange(as, code, { resource: given.resource })
    await assert.rejects(refresh(as, tokens.refresh_token, { resource: 'https://elsewhere.example' }), isRefused('invalid_target'))
    await accept(as, (await refresh(as, tokens.refresh_token, { resource: given.resource })).access_token)
    return {}
  },

  async 'opaque without a resource' () {
    const as = await discover()
    const tokens = await exchange(as, await getCode(as))
    await assert.rejects(accept(as, tokens.access_token))
    const response = await oauth.userInfoRequest(as, client, tokens.access_token, loopback)
    const info = await oauth.processUserInfoResponse(as, client, oauth.getValidatedIdTokenClaims(tokens).sub, response)
    await revoke(as, tokens.access_token)
    assert.deepEqual(await introspect(as, tokens.access_token), { active: false })
    return { access_token: tokens.access_token, info }
  },

  async 'code reuse' () {
    const as = await discover()
    const code = await getCode(as, { resource: given.resource })
    const tokens = await exchange(as, code)
    await assert.rejects(exchange(as, code), isRefused('invalid_grant'))
    assert.deepEqual(await introspect(as, tokens.access_token), { active: false })
    await assert.rejects(refresh(as, tokens.refresh_token), isRefused('invalid_grant'))
    return {}
  },

  async 'refreshes at once' () {
    const as = await discover()
    let { refresh_token: token } = await exchange(as, await getCode(as, { resource: given.resource }))
    for (let round = 0; round < 3; round++) {
      const [one, two] = await Promise.all([refresh(as, token), refresh(as, token)])
      // a JWT is signed anew, and says the same
      assert.deepEqual(claimsOf(one.access_token), claimsOf(two.access_token))
      assert.equal(one.refresh_token, two.refresh_token)
      assert.deepEqual({ ...claimsOf(one.id_token), at_hash: '' }, { ...claimsOf(two.id_token), at_hash: '' })
      assert.equal(one.scope, two.scope)
      await accept(as, one.access_token)
      token = one.refresh_token
    }
    return {}
  },

  async 'a machine' () {
    const as = await discover()
    const response = await oauth.clientCredentialsGrantRequest(as, client, auth, { scope: 'projects:read', resource: given.resource }, loopback)
    const tokens = await oauth.processClientCredentialsResponse(as, client, response)
    return { claims: await accept(as, tokens.access_token), has_refresh_token: 'refresh_token' in tokens }
  },

  async 'a wrong secret' () {
    const as = await discover()
    const wrong = oauth.ClientSecretBasic(given.secret.slice(0, -1) + '§')
    const response = await oauth.clientCredentialsGrantRequest(as, client, wrong, {}, loopback)
    await assert.rejects(oauth.processClientCredentialsResponse(as, client, response), (error) => {
      assert.ok(error instanceof oauth.WWWAuthenticateChallengeError || error instanceof oauth.ResponseBodyError, String(error))
      assert.equal(error.status, 401)
      return true
    })
    return {}
  },
})

function headerOf (token) {
  return JSON.parse(Buffer.from(token.split('.')[0], 'base64url'))
}
