// npm openid-client as a command line program (public, PKCE, random loopback port) and as a server (confidential).
import assert from 'node:assert/strict'
import { given, listen, load, open, run } from './driver.mjs'

const client = await load('openid-client')

async function discover () {
  const auth = given.secret ? client.ClientSecretBasic(given.secret) : client.None()
  return client.discovery(new URL(given.issuer), given.client_id, undefined, auth, { execute: [client.allowInsecureRequests], algorithm: given.algorithm ?? 'oidc' })
}

// The whole way by the browser. `more`: further parameters of the authorize request.
async function authorize (config, more = {}) {
  const { uri, answer } = await listen()
  const pkceCodeVerifier = client.randomPKCECodeVerifier()
  const expectedState = client.randomState()
  const expectedNonce = client.randomNonce()
  open(client.buildAuthorizationUrl(config, {
    redirect_uri: uri,
    scope: 'openid profile email offline_access',
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    state: expectedState,
    nonce: expectedNonce,
    ...more,
  }))
  return { url: await answer, checks: { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true } }
}

async function signIn (config, more) {
  const { url, checks } = await authorize(config, more)
  return client.authorizationCodeGrant(config, url, checks)
}

const isRefused = (code) => (error) => {
  assert.ok(error instanceof client.ResponseBodyError, `${error} ${error.cause?.status}`)
  assert.equal(error.error, code)
  return true
}

const isDead = (error) => {
  assert.ok(error instanceof client.WWWAuthenticateChallengeError, String(error))
  assert.equal(error.status, 401)
  assert.equal(error.cause[0].scheme, 'bearer')
  assert.equal(error.cause[0].parameters.error, 'invalid_token')
  return true
}

const userInfo = (config, tokens) => client.fetchUserInfo(config, tokens.access_token, client.skipSubjectCheck)
const refresh = (config, tokens, more) => client.refreshTokenGrant(config, tokens.refresh_token, more)
const claimsOf = (token) => (token.split('.').length === 3 ? JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString()) : token)
// a JWT is signed anew, and says the same
const sameAnswer = ({ expires_in, id_token, ...rest }) => ({ ...rest, claims: claimsOf(id_token) })

await run({
  async code () {
    const config = await discover()
    const { url, checks } = await authorize(config)
    assert.equal(url.searchParams.get('iss'), given.issuer)
    const tokens = await client.authorizationCodeGrant(config, url, checks)
    const claims = tokens.claims()
    const info = await client.fetchUserInfo(config, tokens.access_token, claims.sub)
    assert.equal(tokens.token_type, 'bearer')
    return { tokens, claims, info }
  },

  async refresh () {
    const config = await discover()
    const first = await signIn(config)
    const second = await refresh(config, first)
    assert.notEqual(second.refresh_token, first.refresh_token)
    assert.notEqual(second.access_token, first.access_token)
    assert.equal(second.claims().sub, first.claims().sub)
    const narrow = await refresh(config, second, { scope: 'openid email' })
    assert.equal(narrow.scope, 'openid email')
    await userInfo(config, narrow)
    await assert.rejects(refresh(config, narrow, { scope: 'openid email projects:write' }), isRefused('invalid_scope'))
    const last = await refresh(config, narrow)
    assert.equal(last.scope, first.scope)
    return { first: first.refresh_token, last: last.refresh_token }
  },

  async 'refreshes at once' () {
    const config = await discover()
    let tokens = await signIn(config)
    for (let round = 0; round < 4; round++) {
      const answers = await Promise.all(Array.from({ length: round ? 2 : 8 }, () => refresh(config, tokens)))
      for (const answer of answers) assert.deepEqual(sameAnswer(answer), sameAnswer(answers[0]))
      assert.notEqual(answers[0].refresh_token, tokens.refresh_token)
      tokens = answers[0]
      await userInfo(config, tokens)
    }
    return {}
  },

  async 'an old refresh token' () {
    const config = await discover()
    const first = await signIn(config)
    const second = await refresh(config, first)
    const again = await refresh(config, first)
    assert.deepEqual(sameAnswer(again), sameAnswer(second))
    const third = await refresh(config, second)
    await assert.rejects(refresh(config, first), isRefused('invalid_grant'))
    await userInfo(config, third)
    await refresh(config, third)
    return {}
  },

  async revoke () {
    const config = await discover()
    for (const name of ['refresh_token', 'access_token']) {
      const tokens = await refresh(config, await signIn(config))
      await client.tokenRevocation(config, tokens[name], { token_type_hint: name })
      await assert.rejects(userInfo(config, tokens), isDead)
      await assert.rejects(refresh(config, tokens), isRefused('invalid_grant'))
      await client.tokenRevocation(config, tokens[name])
    }
    return {}
  },

  async 'code reuse' () {
    const config = await discover()
    const { url, checks } = await authorize(config)
    const tokens = await client.authorizationCodeGrant(config, url, checks)
    await userInfo(config, tokens)
    await assert.rejects(client.authorizationCodeGrant(config, url, checks), isRefused('invalid_grant'))
    await assert.rejects(userInfo(config, tokens), isDead)
    await assert.rejects(refresh(config, tokens), isRefused('invalid_grant'))
    return {}
  },

  async 'code at once' () {
    const config = await discover()
    const { url, checks } = await authorize(config)
    const answers = await Promise.allSettled([1, 2, 3, 4].map(() => client.authorizationCodeGrant(config, url, checks)))
    const refused = answers.filter((answer) => answer.status === 'rejected')
    assert.equal(refused.length, 3)
    for (const answer of refused) isRefused('invalid_grant')(answer.reason)
    return {}
  },

  async 'wrong verifier' () {
    const config = await discover()
    const { url, checks } = await authorize(config)
    const wrong = { ...checks, pkceCodeVerifier: client.randomPKCECodeVerifier() }
    await assert.rejects(client.authorizationCodeGrant(config, url, wrong), isRefused('invalid_grant'))
    await client.authorizationCodeGrant(config, url, checks)
    return {}
  },

  async 'refused at the browser' () {
    const config = await discover()
    const refusals = {}
    for (const [expected, more] of given.refusals) {
      const { url, checks } = await authorize(config, more)
      await assert.rejects(client.authorizationCodeGrant(config, url, checks), (error) => {
        assert.ok(error instanceof client.AuthorizationResponseError, String(error))
        refusals[expected] = error.error
        return true
      })
    }
    return refusals
  },

  async 'max_age' () {
    const config = await discover()
    const { url, checks } = await authorize(config, { max_age: '3600' })
    const tokens = await client.authorizationCodeGrant(config, url, { ...checks, maxAge: 3600 })
    return { auth_time: tokens.claims().auth_time }
  },

  async logout () {
    const config = await discover()
    const tokens = await signIn(config)
    const { uri, answer } = await listen('/bye', given.logout_port)
    open(client.buildEndSessionUrl(config, { id_token_hint: tokens.id_token, post_logout_redirect_uri: uri, state: 'bye-1' }))
    assert.equal((await answer).searchParams.get('state'), 'bye-1')
    const { url, checks } = await authorize(config, { prompt: 'none' })
    await assert.rejects(client.authorizationCodeGrant(config, url, checks), (error) => error.error === 'login_required')
    await refresh(config, tokens)
    return {}
  },

  async server () {
    const config = await discover()
    const tokens = await signIn(config)
    const info = await client.tokenIntrospection(config, tokens.access_token)
    assert.equal(info.active, true)
    const itself = await client.clientCredentialsGrant(config, { scope: 'introspect' })
    await client.tokenRevocation(config, tokens.refresh_token)
    assert.deepEqual(await client.tokenIntrospection(config, tokens.access_token), { active: false })
    assert.deepEqual(await client.tokenIntrospection(config, tokens.refresh_token), { active: false })
    return { info, itself: await client.tokenIntrospection(config, itself.access_token) }
  },
})
