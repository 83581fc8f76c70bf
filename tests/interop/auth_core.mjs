// npm @auth/core (Auth.js, the successor of next-auth 4): a provider of type `oidc` with its default settings.
import assert from 'node:assert/strict'
import { pathToFileURL } from 'node:url'
import { given, listen, open, run } from './driver.mjs'

const { Auth } = await import(pathToFileURL(`${process.env.MODULES}/@auth/core/index.js`))

const config = {
  trustHost: true,
  secret: 'a-secret-of-this-test-with-enough-letters',
  basePath: '/auth',
  providers: [{ id: 'gatepost', name: 'Gatepost', type: 'oidc', issuer: given.issuer, clientId: given.client_id, clientSecret: given.secret, ...given.provider }],
  callbacks: {
    jwt: ({ token, account, profile }) => ({ ...token, ...(account && { account, profile }) }),
    session: ({ session, token }) => ({ ...session, account: token.account, profile: token.profile }),
  },
}

// A browser's cookies at the app, and what the app answers.
function app (origin) {
  const cookies = new Map()
  return async (path, form) => {
    const headers = { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') }
    const request = new Request(origin + path, form ? { method: 'POST', headers, body: new URLSearchParams(form) } : { headers })
    const response = await Auth(request, config)
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)
      value ? cookies.set(name, value) : cookies.delete(name)
    }
    return response
  }
}

await run({
  async 'sign in' () {
    const { uri, answer } = await listen('/auth/callback/gatepost')
    const ask = app(new URL(uri).origin)
    const { csrfToken } = await (await ask('/auth/csrf')).json()
    const away = await ask('/auth/signin/gatepost', { csrfToken, callbackUrl: '/' })
    assert.equal(away.status, 302)
    open(away.headers.get('location'))
    const url = await answer
    const back = await ask(url.pathname + url.search)
    assert.equal(new URL(back.headers.get('location')).pathname, '/', back.headers.get('location'))
    return (await ask('/auth/session')).json()
  },
})
