// An OpenID provider of the tests: `node provider.mjs PORT WORKSPACE`. Client `robot` gets access tokens for
// `https://callsheet.test/<algorithm>` by client credentials. `POST /rotate` replaces the keys: tokens are signed
// with the new ones, and the old ones are no longer published.
import { createServer } from 'node:http';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import Provider from 'oidc-provider';

const [port, workspace] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;

const KINDS = [
  ['RS256', 'rsa'],
  ['PS256', 'rsa'],
  ['ES256', 'ec', { namedCurve: 'P-256' }],
  ['EdDSA', 'ed25519', {}],
];

// A new RSA key takes half a second: rotation gives this one another id.
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;

function createKeys() {
  return KINDS.map(([alg, kind, options]) => ({
    ...(kind === 'rsa' ? rsa : generateKeyPairSync(kind, options).privateKey).export({ format: 'jwk' }),
    alg, use: 'sig', kid: `${alg}-${randomUUID()}`,
  }));
}

function createProvider() {
  const provider = new Provider(issuer, {
    jwks: { keys: createKeys() },
    clients: [{
      client_id: 'robot', client_secret: 'secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
    }],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_ctx, resource) => ({
          scope: 'projects:read projects:write',
          audience: 'https://callsheet.test',
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: new URL(resource).pathname.slice(1) } },
        }),
      },
    },
    extraTokenClaims: () => ({ workspace }),
    ttl: { ClientCredentials: 600 },
  });
  return provider.callback();
}

let current = createProvider();
createServer((request, response) => {
  if (request.url === '/rotate') {
    current = createProvider();
    response.end();
    return;
  }
  current(request, response);
}).listen(Number(port), '127.0.0.1', () => console.log('ready'));
