// What the driver scripts share: what they were given, a loopback server on a random port, and words to the test.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import http from 'node:http'

export const given = JSON.parse(process.env.GIVEN)

const require = createRequire(process.env.MODULES + '/')
export const load = (name) => import(pathToFileURL(require.resolve(name)))

// A listener as a command line program opens one, on a random port: `uri` to send along, `answer` is the address that the browser came with.
export async function listen (path = '/callback', port = 0) {
  let arrived
  const answer = new Promise((resolve) => { arrived = resolve })
  const server = http.createServer((request, response) => {
    const url = new URL(request.url, `http://127.0.0.1:${server.address().port}`)
    response.writeHead(url.pathname === path ? 200 : 404, { 'content-type': 'text/plain', connection: 'close' }).end('You can close this window.')
    if (url.pathname === path) { server.close(); arrived(url) }
  })
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve))
  return { uri: `http://127.0.0.1:${server.address().port}${path}`, answer }
}

export const open = (url) => console.log(`open ${url}`)

export async function run (scenarios) {
  const result = await scenarios[process.argv[2]]()
  console.log(`result ${JSON.stringify(result ?? null)}`)
}
