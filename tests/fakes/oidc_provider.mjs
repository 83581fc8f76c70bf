// npm oidc-provider as an Authentik-like provider for tests. Its settings come as JSON in OIDC_FAKE:
// port, users (login name -> claims), callback, client_id, client_secret, require_auth_time. Email is at userinfo only, its default.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import http from 'node:http'

const require = createRequire(process.env.OIDC_MODULES + '/')
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')))
const given = JSON.parse(process.env.OIDC_FAKE)

const provider = new Provider(`http://127.0.0.1:${given.port}`, {
  clients: [{
    client_id: given.client_id,
    client_secret: given.client_secret,
    redirect_uris: [given.callback],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'client_secret_basic',
    require_auth_time: given.require_auth_time,
  }],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username', 'groups'] },
  features: { devInteractions: { enabled: false } },
  pkce: { required: () => true },
  cookies: { keys: ['only for tests'] },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: async (ctx, id) => given.users[id] && {
    accountId: id,
    claims: async () => ({ sub: given.users[id].sub ?? id, ...given.users[id], ...(given.users[id].sub ? {} : { sub: id }) }),
  },
  async loadExistingGrant (ctx) {
    const grant = new provider.Grant({ accountId: ctx.oidc.session.accountId, clientId: ctx.oidc.client.clientId })
    grant.addOIDCScope('openid email profile offline_access')
    await grant.save()
    return grant
  },
})

async function answer (request, response) {
  const body = await new Promise((resolve) => {
    let text = ''
    request.on('data', (part) => { text += part })
    request.on('end', () => resolve(new URLSearchParams(text)))
  })
  await provider.interactionFinished(request, response, { login: { accountId: body.get('login') } }, { mergeWithLastSubmission: false })
}

http.createServer((request, response) => {
  if (request.url.startsWith('/interaction/')) {
    if (request.method === 'POST') return answer(request, response).catch((error) => { response.writeHead(500).end(String(error)) })
    response.writeHead(200, { 'content-type': 'text/html' })
    return response.end('<title>Sign in</title><form method="post"><label>Login <input name="login" autofocus></label><button>Sign in</button></form>')
  }
  provider.callback()(request, response)
}).listen(given.port, '127.0.0.1')
